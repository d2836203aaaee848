// Where messages are written. Enter sends, Shift and Enter begins a line, Escape stops the answer.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { readSchema, readTools } from "./answer.js";
import { number } from "./format.js";
import { Icon } from "./icons.jsx";
import { hasKeyboard, isSend } from "./keyboard.js";
import * as state from "./state.js";

const draft = signal("");

// How much of the context the conversation fills, as its last answer told.
function Context() {
    const usage = state.path.value.findLast((node) => node.usage?.prompt_tokens)?.usage;
    const most = state.model.value?.max_model_len;
    if (!usage || !most) return null;
    const n = usage.prompt_tokens + usage.completion_tokens;
    return (
        <span>
            {number(n)} of {number(most)} tokens
        </span>
    );
}

function Hints() {
    const { thinking, tools, schema, system } = state.settings.value;
    const { tools: list } = readTools(tools);
    return (
        <p class="hints">
            {system?.trim() && <span>system prompt</span>}
            {thinking && <span>thinking {thinking}</span>}
            {list.length > 0 && <span>{list.length === 1 ? "1 tool" : `${list.length} tools`}</span>}
            {readSchema(schema).schema && <span>JSON schema</span>}
            <Context />
        </p>
    );
}

export function Composer() {
    const area = useRef();
    const running = state.isRunning.value;
    const send = () => {
        const text = draft.value;
        if (!text.trim() || running) return;
        draft.value = "";
        state.sendMessage(text);
    };
    const onKeyDown = (event) => {
        if (!isSend(event)) return;
        event.preventDefault();
        send();
    };
    useEffect(() => {
        if (hasKeyboard()) area.current.focus({ preventScroll: true });
    }, [state.current.value.id]);
    useLayoutEffect(() => {
        area.current.style.height = "auto";
        area.current.style.height = `${area.current.scrollHeight}px`;
    }, [draft.value]);
    const action = running
        ? { "aria-label": "Stop", title: "Stop (Escape)", onClick: () => state.stop() }
        : { "aria-label": "Send", title: "Send (Enter)", onClick: send, "aria-disabled": !draft.value.trim() };
    return (
        <div class="composer">
            <div class="box">
                <textarea
                    id="message"
                    ref={area}
                    rows={1}
                    aria-label="Message"
                    placeholder="Write a message"
                    value={draft.value}
                    onInput={(event) => (draft.value = event.target.value)}
                    onKeyDown={onKeyDown}
                />
                <button type="button" class="round" {...action}>
                    <Icon name={running ? "stop" : "send"} />
                </button>
            </div>
            <Hints />
        </div>
    );
}
