// Markdown as elements. What a model writes is parsed into tokens, and each token becomes an element of a short list or
// plain text: no HTML is ever made from it, so there is none to clean. Links go to the web or to mail, and only when
// they are followed; pictures become links, because a picture that loads tells its server who reads.
import MarkdownIt from "markdown-it";
import { h, Fragment } from "preact";
import { Code } from "./code.jsx";
import { Formula } from "./formula.jsx";
import { mathRules } from "./math_rules.js";

const MARKDOWN_CHARS_MAX = 400_000; // longer ones are shown as they are

const parser = new MarkdownIt({ html: false, linkify: true, breaks: true, typographer: false });
parser.use(mathRules);
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });

const TAGS = new Set(["p", "blockquote", "ul", "ol", "li", "thead", "tbody", "tr", "th", "td", "em", "strong", "s"]);

const isWeb = (address) => /^(https?:\/\/|mailto:)/i.test(address ?? "");

function Link({ address, title, children }) {
    if (!isWeb(address)) return <span class="dead-link">{children}</span>;
    return (
        <a href={address} title={title || address} target="_blank" rel="noopener noreferrer nofollow">
            {children}
        </a>
    );
}

const Table = ({ children }) => (
    <div class="scroll" tabIndex={0} role="group" aria-label="Table">
        <table>{children}</table>
    </div>
);

// An opening token and the elements inside it.
function element(token, children) {
    const { tag } = token;
    if (token.hidden) return <>{children}</>;
    if (tag === "a")
        return (
            <Link address={token.attrGet("href")} title={token.attrGet("title")}>
                {children}
            </Link>
        );
    if (tag === "table") return <Table>{children}</Table>;
    if (/^h[1-6]$/.test(tag)) return h(`h${Math.min(6, Number(tag[1]) + 1)}`, { class: `level-${tag[1]}` }, children);
    if (!TAGS.has(tag)) return <>{children}</>;
    const align = /text-align:(left|center|right)/.exec(token.attrGet("style") ?? "")?.[1];
    const begin = tag === "ol" ? Number(token.attrGet("start") ?? 1) : undefined;
    return h(tag, { class: align && `align-${align}`, start: begin }, children);
}

function leaf(token) {
    switch (token.type) {
        case "inline":
            return <>{elements(token.children)}</>;
        case "math":
            return <Formula text={token.content.trim()} display={token.meta.display} />;
        case "code_inline":
            return <code>{token.content}</code>;
        case "fence":
            return <Code text={token.content} language={token.info.trim().split(/\s+/)[0]} />;
        case "code_block":
            return <Code text={token.content} language="" />;
        case "hr":
            return <hr />;
        case "hardbreak":
        case "softbreak":
            return <br />;
        case "image":
            return <Link address={token.attrGet("src")}>{token.content || "image"}</Link>;
        default:
            return token.content;
    }
}

function elements(tokens) {
    const open = [{ children: [] }];
    for (const token of tokens) {
        if (token.nesting > 0) {
            open.push({ token, children: [] });
        } else if (token.nesting < 0) {
            const { token: begin, children } = open.pop();
            open.at(-1).children.push(element(begin, children));
        } else {
            open.at(-1).children.push(leaf(token));
        }
    }
    return open[0].children;
}

export function Markdown({ text }) {
    if (text.length > MARKDOWN_CHARS_MAX)
        return (
            <p class="plain" dir="auto">
                {text}
            </p>
        );
    return (
        <div class="markdown" dir="auto">
            {elements(parser.parse(text, {}))}
        </div>
    );
}
