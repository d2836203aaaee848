// Formulas in Markdown: $a$ and \(a\) in a line, $$a$$ and \[a\] on their own or in a line. They become tokens of the type
// "math" with the formula as content and meta.display. Time is linear: a delimiter that is not closed is looked for once.

const DELIMITERS = [
    { open: "$$", close: "$$", display: true },
    { open: "\\[", close: "\\]", display: true },
    { open: "\\(", close: "\\)", display: false },
    { open: "$", close: "$", display: false },
];

// Neither money nor variables of a shell are formulas: "$5 or $6", "$HOME/$USER".
const isFormula = (before, content, after) => /^\S(.*\S)?$/s.test(content) && !/\w/.test(before + after);

function inlineRule(state, silent) {
    const { src, pos } = state;
    const found = DELIMITERS.find(({ open }) => src.startsWith(open, pos));
    const missing = (state.mathMissing ??= new Set());
    if (!found || missing.has(found.close)) return false;
    const begin = pos + found.open.length;
    const end = src.indexOf(found.close, begin);
    if (end < 0) missing.add(found.close);
    if (end <= begin) return false;
    const content = src.slice(begin, end);
    if (found.open === "$" && !isFormula(src.slice(pos - 1, pos), content, src.slice(end + 1, end + 2))) return false;
    if (!silent) Object.assign(state.push("math", "", 0), { content, meta: found });
    state.pos = end + found.close.length;
    return true;
}

// A formula that begins a line and ends one.
function blockRule(state, startLine, endLine, silent) {
    const lineAt = (i) => state.src.slice(state.bMarks[i] + state.tShift[i], state.eMarks[i]);
    const first = lineAt(startLine);
    const found = DELIMITERS.find(({ open, display }) => display && first.startsWith(open));
    const missing = (state.env.mathMissing ??= new Set());
    if (!found || missing.has(found.close) || state.sCount[startLine] - state.blkIndent >= 4) return false;
    const lines = [];
    for (let i = startLine; i < endLine; i++) {
        const line = i === startLine ? first.slice(found.open.length) : lineAt(i);
        const at = line.indexOf(found.close);
        if (at >= 0 && line.slice(at + found.close.length).trim() !== "") return false;
        lines.push(at >= 0 ? line.slice(0, at) : line);
        if (at < 0) continue;
        if (silent) return true;
        const token = Object.assign(state.push("math", "", 0), { content: lines.join("\n"), meta: found });
        token.map = [startLine, i + 1];
        state.line = i + 1;
        return true;
    }
    if (endLine === state.lineMax) missing.add(found.close);
    return false;
}

export function mathRules(markdown) {
    markdown.inline.ruler.before("escape", "math", inlineRule);
    markdown.block.ruler.after("blockquote", "math", blockRule, {
        alt: ["paragraph", "reference", "blockquote", "list"],
    });
}
