// A formula as MathML, which the browser draws by itself. The elements are made by Temml, one by one, from a fixed set;
// what it does not understand is shown as it was written.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import temml from "temml/dist/temml.mjs";

const FORMULA_CHARS_MAX = 10_000;
const MATHML = "http://www.w3.org/1998/Math/MathML";

// Draws into an element; throws if there is anything but MathML, or a link.
function draw(element, text, display) {
    if (text.length > FORMULA_CHARS_MAX) throw new Error("too long");
    temml.render(text, element, {
        displayMode: display,
        throwOnError: true,
        trust: false,
        maxExpand: 200,
        maxSize: [20, 200],
    });
    for (const each of element.querySelectorAll("*"))
        if (each.namespaceURI !== MATHML || each.hasAttribute("href")) throw new Error("not only a formula");
}

export function Formula({ text, display }) {
    const element = useRef();
    const [failed, setFailed] = useState("");
    useLayoutEffect(() => {
        try {
            draw(element.current, text, display);
            setFailed("");
        } catch {
            element.current.replaceChildren();
            setFailed(text);
        }
    }, [text, display]);
    // A formula of its own may be wider than the page, and is then scrolled, also by keyboard.
    const scrolled = display ? { class: "formula display", role: "group", "aria-label": "Formula", tabIndex: 0 } : {};
    return (
        <span class="formula" dir="ltr" {...scrolled}>
            <span ref={element} />
            {failed && <code>{failed}</code>}
        </span>
    );
}
