// A block of code with its colours and a button that copies it.
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import { createLowlight } from "lowlight";
import { useMemo, useState } from "preact/hooks";
import { Icon } from "./icons.jsx";

const COLOURED_CHARS_MAX = 30_000;
const COPIED_MS = 1500;

const colours = createLowlight({
    bash,
    c,
    cpp,
    css,
    diff,
    go,
    ini,
    java,
    javascript,
    json,
    markdown,
    python,
    rust,
    sql,
    typescript,
    xml,
    yaml,
});
colours.registerAlias({ cpp: ["cuda", "cu"], bash: ["console", "shell"] });

const spans = (node) =>
    node.type === "text" ? (
        node.value
    ) : (
        <span class={node.properties.className?.join(" ")}>{node.children.map(spans)}</span>
    );

function coloured(text, language) {
    if (text.length > COLOURED_CHARS_MAX || !colours.registered(language)) return text;
    try {
        return colours.highlight(language, text).children.map(spans);
    } catch {
        return text; // a grammar that stumbles over this text
    }
}

// On plain HTTP browsers have no navigator.clipboard, but still copy what is selected.
async function copyText(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const focused = document.activeElement;
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "spoken" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    focused?.focus();
}

export function CopyButton({ text, label }) {
    const [copied, setCopied] = useState(false);
    const copy = async () => {
        await copyText(text);
        setCopied(true);
        setTimeout(() => setCopied(false), COPIED_MS);
    };
    return (
        <button type="button" class="quiet" onClick={copy} aria-label={copied ? "Copied" : label} title={label}>
            <Icon name={copied ? "check" : "copy"} />
        </button>
    );
}

export function Code({ text, language }) {
    const name = language.toLowerCase();
    const content = useMemo(() => coloured(text, name), [text, name]);
    return (
        <figure class="code" dir="ltr">
            <figcaption>
                <span>{language || "text"}</span>
                <CopyButton text={text} label="Copy the code" />
            </figcaption>
            <pre tabIndex={0} role="group" aria-label={`Code, ${language || "text"}`}>
                <code>{content}</code>
            </pre>
        </figure>
    );
}
