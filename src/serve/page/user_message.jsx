// What the user wrote, and its editor.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { CopyButton } from "./code.jsx";
import { IconButton } from "./icons.jsx";
import { focusSend, isSend, useFocusAfter } from "./keyboard.js";
import * as state from "./state.js";
import { Versions } from "./versions.jsx";

function Editor({ node, onDone }) {
    const [text, setText] = useState(node.content);
    const area = useRef();
    useLayoutEffect(() => area.current.focus(), []);
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
            <textarea
                aria-label="Edit the message"
                value={text}
                onInput={(event) => setText(event.target.value)}
                onKeyDown={onKeyDown}
                ref={area}
            />
            <div class="buttons">
                <button type="button" onClick={onDone}>
                    Cancel
                </button>
                <button type="button" class="primary" onClick={send} disabled={!text.trim()}>
                    Send
                </button>
            </div>
        </div>
    );
}

export function UserMessage({ node, versions }) {
    const [editing, setEditing] = useState(false);
    const button = useFocusAfter(editing);
    if (editing) return <Editor node={node} onDone={() => setEditing(false)} />;
    return (
        <>
            <div class="bubble plain" dir="auto">
                {node.content}
            </div>
            <footer>
                <Versions id={node.id} versions={versions} />
                <CopyButton text={node.content} label="Copy the message" />
                <IconButton
                    icon="edit"
                    label="Edit the message"
                    ref={button}
                    disabled={state.isRunning.value}
                    onClick={() => setEditing(true)}
                />
            </footer>
        </>
    );
}
