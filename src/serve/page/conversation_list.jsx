// The conversations that the browser keeps, newest first, in groups by age.
import { useRef, useState } from "preact/hooks";
import { Icon, IconButton } from "./icons.jsx";
import { useFocusAfter } from "./keyboard.js";
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
            event.target.value = conversation.title; // losing the focus saves
            onDone();
        }
    };
    return (
        <input
            class="rename"
            aria-label="Title"
            value={titleOf(conversation)}
            onKeyDown={onKeyDown}
            onBlur={save}
            ref={(input) => input?.select()}
        />
    );
}

function Row({ conversation, onChosen }) {
    const [renaming, setRenaming] = useState(false);
    const button = useFocusAfter(renaming);
    const { id } = conversation;
    const title = titleOf(conversation);
    const chosen = id === state.current.value.id;
    const open = () => {
        state.openConversation(id);
        onChosen();
    };
    const remove = () => {
        state.deleteConversation(id);
        document.querySelector(".new").focus(); // the button that was pressed is gone
    };
    const action = (icon, label, run) => (
        <IconButton icon={icon} label={label} aria-label={`${label}: ${title}`} onClick={run} />
    );
    if (renaming) return <Rename conversation={conversation} onDone={() => setRenaming(false)} />;
    return (
        <>
            <button
                type="button"
                class="open"
                ref={button}
                aria-current={chosen ? "page" : undefined}
                title={title}
                onClick={open}
            >
                {id in state.running.value && <span class="dot" />}
                {title}
            </button>
            <span class="actions">
                {action("edit", "Rename", () => setRenaming(true))}
                {action("save", "Export", () => state.exportConversation(id))}
                {action("trash", "Delete", remove)}
            </span>
        </>
    );
}

function Group({ age, conversations, onChosen }) {
    return (
        <section aria-label={age}>
            <h2>{age}</h2>
            <ul>
                {conversations.map((each) => (
                    <li key={each.id} class={each.id === state.current.value.id ? "chosen" : ""}>
                        <Row conversation={each} onChosen={onChosen} />
                    </li>
                ))}
            </ul>
        </section>
    );
}

// What is searched for may be anywhere in a conversation.
function contains(conversation, text) {
    const texts = Object.values(conversation.nodes).map((node) => node.content);
    return [titleOf(conversation), ...texts].some((each) => each.toLowerCase().includes(text));
}

export function ImportButton() {
    const input = useRef();
    const read = () => {
        const [file] = input.current.files;
        if (file) state.importConversation(file);
        input.current.value = ""; // the same file may be chosen again
    };
    return (
        <>
            <input ref={input} type="file" accept=".json,application/json" hidden onChange={read} />
            <IconButton icon="load" label="Import a conversation" onClick={() => input.current.click()} />
        </>
    );
}

export function ConversationList({ onChosen }) {
    const [search, setSearch] = useState("");
    const all = state.conversations.value;
    const text = search.trim().toLowerCase();
    const found = text ? all.filter((each) => contains(each, text)) : all;
    const groups = [...Map.groupBy(found, (each) => ageOf(each.updated))];
    const begin = () => {
        state.newConversation();
        onChosen();
        document.getElementById("message").focus();
    };
    return (
        <>
            <button type="button" class="new" onClick={begin}>
                <Icon name="plus" /> New conversation
            </button>
            {all.length > 0 && (
                <input
                    type="search"
                    aria-label="Search conversations"
                    placeholder="Search"
                    value={search}
                    onInput={(event) => setSearch(event.target.value)}
                />
            )}
            <div class="conversations">
                {groups.map(([age, list]) => (
                    <Group key={age} age={age} conversations={list} onChosen={onChosen} />
                ))}
                {all.length === 0 && <p class="hint">Conversations stay in this browser and are listed here.</p>}
                {all.length > 0 && found.length === 0 && <p class="hint">Nothing found.</p>}
            </div>
        </>
    );
}
