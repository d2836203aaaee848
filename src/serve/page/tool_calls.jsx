// The tool calls of an answer, folded. There is nothing here that runs tools: whoever sits in front of the page gives
// the results, and the model goes on with them.
import { useState } from "preact/hooks";
import { Code } from "./code.jsx";
import { Icon } from "./icons.jsx";
import { focusSend } from "./keyboard.js";
import * as state from "./state.js";

const PREVIEW_CHARS = 120;

function readable(json) {
    try {
        return JSON.stringify(JSON.parse(json), null, 2);
    } catch {
        return json;
    }
}

// A folded card: what it is and the beginning of its text, all of it when unfolded.
function Card({ what, name, text, open, children }) {
    return (
        <details class="card" open={open}>
            <summary>
                <Icon name="tool" />
                <span>
                    {what} <code>{name}</code>
                </span>
                <span class="preview">{text.slice(0, PREVIEW_CHARS)}</span>
            </summary>
            <Code text={readable(text)} language="json" />
            {children}
        </details>
    );
}

// Unfolded while it waits for a result.
function Call({ call, open, result, onResult }) {
    return (
        <Card what="Call of" name={call.name} text={call.arguments} open={open}>
            {open && (
                <label class="field">
                    Result
                    <textarea
                        rows={2}
                        value={result}
                        placeholder='{"ok": true}'
                        onInput={(event) => onResult(event.target.value)}
                    />
                </label>
            )}
        </Card>
    );
}

export function ToolCalls({ node, isLast }) {
    const [results, setResults] = useState({});
    const open = isLast && node.state === "done" && !state.isRunning.value;
    const send = () => {
        state.sendResults(
            node.id,
            node.calls.map((call, i) => ({ callId: call.id, name: call.name, content: results[i] ?? "" })),
        );
        focusSend();
    };
    return (
        <div class="calls">
            {node.calls.map((call, i) => (
                <Call
                    key={i}
                    call={call}
                    open={open}
                    result={results[i] ?? ""}
                    onResult={(text) => setResults({ ...results, [i]: text })}
                />
            ))}
            {open && (
                <div class="buttons">
                    <button type="button" class="primary" onClick={send}>
                        Send {node.calls.length > 1 ? "results" : "result"}
                    </button>
                </div>
            )}
        </div>
    );
}

export const ToolMessage = ({ node }) => <Card what="Result of" name={node.name} text={node.content} />;
