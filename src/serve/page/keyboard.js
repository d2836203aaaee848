// What keys mean.

// There is a real keyboard, as far as one can tell. A phone would push its own over the page, and its Enter ends a line.
export const hasKeyboard = () => matchMedia("(hover: hover)").matches;

// Enter that sends: not with Shift, not while an input method composes a word (229: in Safari), not on a phone.
export const isSend = (event) =>
    event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229 && hasKeyboard();
