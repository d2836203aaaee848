// The frame: conversations on the left, the talk in the middle, a panel on the right.
import { useSignalEffect } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Bar } from "./bar.jsx";
import { Composer } from "./composer.jsx";
import { ConversationList, ImportButton } from "./conversation_list.jsx";
import { Figures } from "./figures.jsx";
import { IconButton, Logo } from "./icons.jsx";
import { KeyDialog } from "./key_dialog.jsx";
import { Notice } from "./notice.jsx";
import { Settings } from "./settings.jsx";
import { anyOpen, closeSides, covered, focusOpener, listOpen, panel } from "./sides.js";
import * as state from "./state.js";
import { Talk } from "./talk.jsx";
import { titleOf } from "./tree.js";

const PANELS = { settings: ["Settings", Settings], figures: ["Live figures", Figures] };

function Panel() {
    const name = panel.value;
    const heading = useRef();
    useLayoutEffect(() => heading.current?.focus(), [name]);
    if (!name) return null;
    const [title, Content] = PANELS[name];
    return (
        <aside id="panel" class="panel" aria-labelledby="panel-title">
            <header>
                <h2 id="panel-title" ref={heading} tabIndex={-1}>
                    {title}
                </h2>
                <IconButton icon="close" label="Close" onClick={closeSides} />
            </header>
            <Content />
        </aside>
    );
}

function Side() {
    return (
        <nav id="list" class="side" aria-label="Conversations" hidden={!listOpen.value}>
            <div class="brand">
                <Logo />
                <span>nibble</span>
                <ImportButton />
            </div>
            <ConversationList onChosen={closeSides} />
            <p class="version">{state.version.value && `nibble ${state.version.value}`}</p>
        </nav>
    );
}

function SkipLink() {
    const skip = (event) => {
        event.preventDefault(); // the address names the conversation
        document.getElementById("message").focus();
    };
    return (
        <a class="skip" href="#message" onClick={skip}>
            Skip to the message
        </a>
    );
}

// The focus goes into what opens over the talk, and back to what opened it.
function useFocusFollowing() {
    const wasOpen = useRef(false);
    useLayoutEffect(() => {
        if (covered.value && listOpen.value) document.querySelector("#list button").focus();
        if (wasOpen.current && !anyOpen.value) focusOpener();
        wasOpen.current = anyOpen.value;
    }, [anyOpen.value]);
}

// Escape closes what lies over the talk, then stops the answer.
function onKey(event) {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (anyOpen.value) closeSides();
    else state.stop();
}

export function App() {
    useEffect(() => {
        addEventListener("keydown", onKey);
        return () => removeEventListener("keydown", onKey);
    }, []);
    useSignalEffect(() => {
        const { value } = state.current;
        document.title = value.leaf ? `${titleOf(value)} · nibble` : "nibble";
    });
    useFocusFollowing();
    return (
        <div class="app">
            <SkipLink />
            <Side />
            <div class="middle" inert={covered.value}>
                <Bar />
                <main>
                    <Talk />
                    <Composer />
                </main>
            </div>
            {covered.value && <div class="cover" onClick={closeSides} />}
            <Panel />
            <Notice />
            <KeyDialog />
            <p class="spoken" role="status">
                {state.announcement.value}
            </p>
        </div>
    );
}
