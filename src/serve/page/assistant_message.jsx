// What the model wrote: thoughts, text, tool calls, and how fast it came.
import { splitThoughts } from "./answer.js";
import { Code, CopyButton } from "./code.jsx";
import { duration, number, rate } from "./format.js";
import { Icon, IconButton } from "./icons.jsx";
import { focusSend } from "./keyboard.js";
import { Markdown } from "./markdown.jsx";
import * as state from "./state.js";
import { ToolCalls } from "./tool_calls.jsx";
import { Versions } from "./versions.jsx";

function Thinking({ node, reasoning, content }) {
    if (!reasoning) return null;
    const live = node.state === "running" && !content && !node.calls.length;
    const time = node.stats?.thoughtMs ? ` for ${duration(node.stats.thoughtMs)}` : "";
    return (
        <details class="card thinking">
            <summary>
                <Icon name="thought" />
                <span class={live ? "live" : ""}>{live ? "Thinking" : `Thought${time}`}</span>
            </summary>
            <div class="thoughts plain" dir="auto" tabIndex={0} role="group" aria-label="Thoughts">
                {reasoning.trim()}
            </div>
        </details>
    );
}

const ENDS = new Map([
    ["length", "reached its length limit"],
    ["content_filter", "filtered"],
]);
const MEASURED_MS_MIN = 50; // less says more about the browser than about the server

// "32 tokens · 41.0 tokens/s · first after 0.2 s"
function statsText({ usage, stats, finish, state: ended }) {
    const parts = [];
    const n = usage?.completion_tokens;
    const cached = usage?.cached_tokens;
    if (n) parts.push(`${number(n)} tokens`);
    if (n > 1 && stats?.decodeMs >= MEASURED_MS_MIN) parts.push(`${rate((1000 * (n - 1)) / stats.decodeMs)} tokens/s`);
    if (stats?.firstMs) parts.push(`first after ${duration(stats.firstMs)}`);
    if (cached) parts.push(`${number(cached)} of ${number(usage.prompt_tokens)} prompt tokens cached`);
    if (ended === "stopped") parts.push("stopped");
    if (ENDS.has(finish)) parts.push(ENDS.get(finish));
    return parts.join(" · ");
}

const Waiting = () => (
    <p class="waiting">
        <span />
        <span />
        <span />
    </p>
);

export function AssistantMessage({ node, versions, isLast }) {
    const { reasoning, content } = node.reasoning ? node : splitThoughts(node.content);
    const run = (action) => () => {
        action(node.id);
        focusSend();
    };
    const endedEarly = (node.state !== "done" || node.finish === "length") && node.content && !node.calls.length;
    const waits = node.state === "running" && !content && !reasoning && !node.calls.length;
    return (
        <>
            <Thinking node={node} reasoning={reasoning} content={content} />
            {waits && <Waiting />}
            {content && (node.isJson ? <Code text={content} language="json" /> : <Markdown text={content} />)}
            {node.calls.length > 0 && <ToolCalls node={node} isLast={isLast} />}
            {node.state === "failed" && (
                <p class="failure" role="alert">
                    {node.error}
                </p>
            )}
            <footer>
                {node.state !== "running" && (
                    <>
                        <Versions id={node.id} versions={versions} />
                        {content && <CopyButton text={content} label="Copy the answer" />}
                        <IconButton
                            icon="again"
                            label="Answer again"
                            disabled={state.isRunning.value}
                            onClick={run(state.regenerate)}
                        />
                        {endedEarly && isLast && (
                            <IconButton
                                icon="onward"
                                label="Go on"
                                disabled={state.isRunning.value}
                                onClick={run(state.continueAnswer)}
                            />
                        )}
                    </>
                )}
                <span class="stats">{statsText(node)}</span>
            </footer>
        </>
    );
}
