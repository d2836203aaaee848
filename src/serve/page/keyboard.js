// What keys mean, and where the focus goes when what had it is gone.
import { useLayoutEffect, useRef } from "preact/hooks";

// There is a real keyboard, as far as one can tell. A phone would push its own over the page, and its Enter ends a line.
export const hasKeyboard = () => matchMedia("(hover: hover)").matches;

// Enter that sends: not with Shift, not while an input method composes a word (229: in Safari), not on a phone.
export const isSend = (event) =>
    event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && hasKeyboard();

// To the button that sends and stops.
export const focusSend = () => document.querySelector(".round").focus();

// A ref for the element that has the focus again when an editor closes, unless something else has it.
export function useFocusAfter(editing) {
    const element = useRef();
    const was = useRef(false);
    useLayoutEffect(() => {
        if (was.current && !editing && document.activeElement === document.body) element.current.focus();
        was.current = editing;
    }, [editing]);
    return element;
}
