// The conversations that the browser keeps, newest first, in groups by age.
import { useState } from "preact/hooks";
import { Icon } from "./icons.jsx";
import * as state from "./state.js";
import { titleOf } from "./tree.js";

const DAY_MS = 86_400_000;

function ageOf(at) {
    const midnight = new Date().setHours(0, 0, 0, 0);
    if (at >= midnight) return "Today";
    if (at >= midnight - DAY_MS) return "Yesterday";
    return at >= midnight - 7 * DAY_MS ? "Last 7 days" : "Older";
}

function Rename({ conversation, onDone }) {
    const save = (event) => {
        state.renameConversation(conversation.id, event.target.value);
        onDone();
    };
    const onKeyDown = (event) => {
        if (event.key === "Enter") save(event);
        if (event.key === "Escape") {
            event.preventDefault();
            onDone();
        }
    };
    return <input class="rename" aria-label="Title" value={titleOf(conversation)} onKeyDown={onKeyDown} onBlur={save} ref={(input) => input?.select()} />;
}

function Row({ conversation, onChosen }) {
    const [renaming, setRenaming] = useState(false);
    const title = titleOf(conversation);
    const chosen = conversation.id === state.current.value.id;
    const actions = [
        ["edit", "Rename", () => setRenaming(true)],
        ["save", "Export", () => state.exportConversation(conversation.id)],
        ["trash", "Delete", () => { state.deleteConversation(conversation.id); document.querySelector(".new").focus(); }],
    ];
    if (renaming) return <li><Rename conversation={conversation} onDone={() => setRenaming(false)} /></li>;
    return (
        <li class={chosen ? "chosen" : ""}>
            <button type="button" class="open" aria-current={chosen ? "page" : undefined} title={title} onClick={() => { state.openConversation(conversation.id); onChosen(); }}>
                {conversation.id in state.running.value && <span class="dot" />}
                {title}
            </button>
            <span class="actions">
                {actions.map(([icon, label, run]) => (
                    <button key={icon} type="button" class="quiet" aria-label={`${label}: ${title}`} title={label} onClick={run}><Icon name={icon} /></button>
                ))}
            </span>
        </li>
    );
}

// What was searched for may be anywhere in a conversation.
function contains(conversation, text) {
    const nodes = Object.values(conversation.nodes);
    return [titleOf(conversation), ...nodes.map((node) => node.content)].some((each) => each.toLowerCase().includes(text));
}

export function ConversationList({ onChosen }) {
    const [search, setSearch] = useState("");
    const all = state.conversations.value;
    const text = search.trim().toLowerCase();
    const groups = Map.groupBy(text ? all.filter((each) => contains(each, text)) : all, (each) => ageOf(each.updated));
    return (
        <>
            <button type="button" class="new" onClick={() => { state.newConversation(); onChosen(); document.getElementById("message").focus(); }}>
                <Icon name="plus" /> New conversation
            </button>
            {all.length > 0 && <input type="search" aria-label="Search conversations" placeholder="Search" value={search} onInput={(event) => setSearch(event.target.value)} />}
            <div class="conversations">
                {[...groups].map(([age, list]) => (
                    <section key={age} aria-label={age}>
                        <h2>{age}</h2>
                        <ul>{list.map((each) => <Row key={each.id} conversation={each} onChosen={onChosen} />)}</ul>
                    </section>
                ))}
                {groups.size === 0 && <p class="hint">{text ? "Nothing found." : "Conversations stay in this browser and are listed here."}</p>}
            </div>
        </>
    );
}
