// The messages of the conversation. The view follows an answer as long as its end is in sight.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { number } from "./format.js";
import { Icon, Logo } from "./icons.jsx";
import { Message } from "./message.jsx";
import * as state from "./state.js";
import { versionsOf } from "./tree.js";

const NEAR_PX = 80;

function Welcome() {
    const model = state.model.value;
    return (
        <div class="welcome">
            <Logo />
            <h2>What shall we talk about?</h2>
            {model && (
                <p>
                    {model.id}
                    {model.max_model_len > 0 && ` · ${number(model.max_model_len)} tokens of context`}
                </p>
            )}
        </div>
    );
}

export function Talk() {
    const scroller = useRef();
    const [atEnd, setAtEnd] = useState(true);
    const { value: conversation } = state.current;
    const path = state.path.value;
    const toEnd = (behavior) => scroller.current.scrollTo({ top: scroller.current.scrollHeight, behavior });
    const onScroll = () => {
        const { scrollTop, scrollHeight, clientHeight } = scroller.current;
        setAtEnd(scrollHeight - scrollTop - clientHeight < NEAR_PX);
    };
    const follow = () => {
        setAtEnd(true);
        toEnd("smooth");
    };
    useLayoutEffect(() => atEnd && toEnd("instant"), [path]);
    useEffect(() => {
        setAtEnd(true);
        toEnd("instant");
    }, [conversation.id, path.length]);
    return (
        <div class="talk" ref={scroller} onScroll={onScroll} tabIndex={0} role="region" aria-label="Messages">
            <div class="messages" aria-busy={state.isRunning.value}>
                {path.length === 0 && <Welcome />}
                {path.map((node) => (
                    <Message
                        key={node.id}
                        node={node}
                        versions={versionsOf(conversation, node.id)}
                        isLast={node.id === conversation.leaf}
                    />
                ))}
            </div>
            {!atEnd && (
                <button type="button" class="to-end" onClick={follow} aria-label="To the latest message">
                    <Icon name="down" />
                </button>
            )}
        </div>
    );
}
