// The tool calls of an answer, folded. There is nothing here that runs tools: whoever sits in front of the page gives
// the results, and the model goes on with them.
import { useState } from "preact/hooks";
import { Code } from "./code.jsx";
import { focusSend } from "./composer.jsx";
import { Icon } from "./icons.jsx";
import * as state from "./state.js";

export const PREVIEW_CHARS = 120;

function readable(json) {
    try {
        return JSON.stringify(JSON.parse(json), null, 2);
    } catch {
        return json;
    }
}

function Call({ call, open, result, onResult }) {
    return (
        <details class="card" open={open}>
            <summary><Icon name="tool" /><span>Call of <code>{call.name}</code></span><span class="preview">{call.arguments.slice(0, PREVIEW_CHARS)}</span></summary>
            <Code text={readable(call.arguments)} language="json" />
            {open && (
                <label class="field">
                    Result
                    <textarea rows={2} value={result} placeholder='{"ok": true}' onInput={(event) => onResult(event.target.value)} />
                </label>
            )}
        </details>
    );
}

export function ToolCalls({ node, isLast }) {
    const [results, setResults] = useState({});
    const open = isLast && node.state === "done" && !state.isRunning.value;
    const send = () => {
        state.sendResults(node.id, node.calls.map((call, i) => ({ callId: call.id, name: call.name, content: results[i] ?? "" })));
        focusSend();
    };
    return (
        <div class="calls">
            {node.calls.map((call, i) => (
                <Call key={i} call={call} open={open} result={results[i] ?? ""} onResult={(text) => setResults({ ...results, [i]: text })} />
            ))}
            {open && <div class="buttons"><button type="button" class="primary" onClick={send}>Send {node.calls.length > 1 ? "results" : "result"}</button></div>}
        </div>
    );
}
