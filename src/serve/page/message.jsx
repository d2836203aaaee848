// One message: what was asked, answered, thought, called, or given back by a tool.
import { memo } from "preact/compat";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Code, CopyButton } from "./code.jsx";
import { focusSend } from "./composer.jsx";
import { splitThoughts } from "./answer.js";
import { Icon } from "./icons.jsx";
import { isSend } from "./keyboard.js";
import { Markdown } from "./markdown.jsx";
import * as state from "./state.js";
import { PREVIEW_CHARS, ToolCalls } from "./tool_calls.jsx";

const duration = (ms) => (ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`);

function Versions({ id, versions }) {
    const at = versions.indexOf(id);
    if (versions.length < 2) return null;
    return (
        <span class="versions" role="group" aria-label="Versions">
            <button type="button" class="quiet" disabled={at === 0 || state.isRunning.value} aria-label="Earlier version" onClick={() => state.showVersion(versions[at - 1])}><Icon name="left" /></button>
            <span>{at + 1}<span class="of">/</span>{versions.length}</span>
            <button type="button" class="quiet" disabled={at === versions.length - 1 || state.isRunning.value} aria-label="Later version" onClick={() => state.showVersion(versions[at + 1])}><Icon name="right" /></button>
        </span>
    );
}

// ---- What the user wrote

function Editor({ node, onDone }) {
    const [text, setText] = useState(node.content);
    const send = () => {
        if (!text.trim()) return;
        onDone();
        state.editMessage(node.id, text);
        focusSend();
    };
    const onKeyDown = (event) => {
        if (event.key === "Escape") {
            event.preventDefault();
            onDone();
        } else if (isSend(event)) {
            event.preventDefault();
            send();
        }
    };
    return (
        <div class="editor">
            <textarea aria-label="Edit the message" value={text} onInput={(event) => setText(event.target.value)} onKeyDown={onKeyDown} ref={(area) => area && area !== document.activeElement && area.focus()} />
            <div class="buttons">
                <button type="button" onClick={onDone}>Cancel</button>
                <button type="button" class="primary" onClick={send} disabled={!text.trim()}>Send</button>
            </div>
        </div>
    );
}

function UserMessage({ node, versions }) {
    const [editing, setEditing] = useState(false);
    const button = useRef();
    const wasEditing = useRef(false);
    useLayoutEffect(() => {
        if (wasEditing.current && !editing) button.current.focus();
        wasEditing.current = editing;
    }, [editing]);
    if (editing) return <Editor node={node} onDone={() => setEditing(false)} />;
    return (
        <>
            <div class="bubble plain" dir="auto">{node.content}</div>
            <footer>
                <Versions id={node.id} versions={versions} />
                <CopyButton text={node.content} label="Copy the message" />
                <button type="button" class="quiet" ref={button} disabled={state.isRunning.value} onClick={() => setEditing(true)} aria-label="Edit the message" title="Edit"><Icon name="edit" /></button>
            </footer>
        </>
    );
}

// ---- What the model wrote

function Thinking({ node, reasoning, content }) {
    if (!reasoning) return null;
    const live = node.state === "running" && !content && !node.calls.length;
    const time = node.stats?.thoughtMs ? ` for ${duration(node.stats.thoughtMs)}` : "";
    return (
        <details class="card thinking">
            <summary><Icon name="thought" /><span class={live ? "live" : ""}>{live ? "Thinking" : `Thought${time}`}</span></summary>
            <div class="thoughts plain" dir="auto" tabIndex={0} role="group" aria-label="Thoughts">{reasoning.trim()}</div>
        </details>
    );
}

const ENDS = { length: "reached its length limit", content_filter: "filtered" };

const MEASURED_MS_MIN = 50; // less says more about the browser than about the server

// "32 tokens · 41.0 tokens/s · first after 0.2 s"
function statsText({ usage, stats, finish, state: ended }) {
    const parts = [];
    const n = usage?.completion_tokens;
    if (n) parts.push(`${n.toLocaleString("en")} tokens`);
    if (n > 1 && stats?.decodeMs >= MEASURED_MS_MIN) parts.push(`${((1000 * (n - 1)) / stats.decodeMs).toFixed(1)} tokens/s`);
    if (stats?.firstMs) parts.push(`first after ${duration(stats.firstMs)}`);
    const cached = usage?.prompt_tokens_details?.cached_tokens;
    if (cached) parts.push(`${cached.toLocaleString("en")} of ${usage.prompt_tokens.toLocaleString("en")} prompt tokens cached`);
    if (ended === "stopped") parts.push("stopped");
    if (ENDS[finish]) parts.push(ENDS[finish]);
    return parts.join(" · ");
}

function AssistantMessage({ node, versions, isLast }) {
    const { reasoning, content } = node.reasoning ? node : splitThoughts(node.content);
    const waits = node.state === "running" && !content && !reasoning && !node.calls.length;
    return (
        <>
            <Thinking node={node} reasoning={reasoning} content={content} />
            {waits && <p class="waiting"><span /><span /><span /></p>}
            {content && <Markdown text={content} />}
            {node.calls.length > 0 && <ToolCalls node={node} isLast={isLast} />}
            {node.state === "failed" && <p class="failure" role="alert">{node.error}</p>}
            {node.state !== "running" && (
                <footer>
                    <Versions id={node.id} versions={versions} />
                    {content && <CopyButton text={content} label="Copy the answer" />}
                    <button type="button" class="quiet" disabled={state.isRunning.value} onClick={() => { state.regenerate(node.id); focusSend(); }} aria-label="Answer again" title="Answer again"><Icon name="again" /></button>
                    <span class="stats">{statsText(node)}</span>
                </footer>
            )}
        </>
    );
}

function ToolMessage({ node }) {
    return (
        <details class="card">
            <summary><Icon name="tool" /><span>Result of <code>{node.name}</code></span><span class="preview">{node.content.slice(0, PREVIEW_CHARS)}</span></summary>
            <Code text={node.content} language="json" />
        </details>
    );
}

const KINDS = { user: UserMessage, assistant: AssistantMessage, tool: ToolMessage };
const LABELS = { user: "You", assistant: "Answer", tool: "Tool result" };

export const Message = memo(
    function Message(props) {
        const { role } = props.node;
        const Kind = KINDS[role];
        return <article class={`message ${role}`} aria-label={LABELS[role]}><Kind {...props} /></article>;
    },
    (before, after) => before.node === after.node && before.isLast === after.isLast && before.versions.length === after.versions.length,
);
