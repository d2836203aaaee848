// The frame: conversations on the left, the talk in the middle, a panel on the right. On a narrow screen the sides lie
// over the middle, one at a time.
import { signal, useSignalEffect } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Composer } from "./composer.jsx";
import { ConversationList } from "./conversation_list.jsx";
import { Figures, Pulse } from "./figures.jsx";
import { Icon, Logo } from "./icons.jsx";
import { KeyDialog } from "./key_dialog.jsx";
import { Settings } from "./settings.jsx";
import * as state from "./state.js";
import { loadPreference, savePreference } from "./store.js";
import { Talk } from "./talk.jsx";
import { titleOf } from "./tree.js";

const narrowScreen = matchMedia("(max-width: 820px)");
const narrow = signal(narrowScreen.matches);
const listOpen = signal(!narrow.value && loadPreference("list", true));
const panel = signal(""); // "settings", "figures" or none

narrowScreen.addEventListener("change", () => {
    narrow.value = narrowScreen.matches;
    if (narrow.value) closeSides();
});

let opener = null; // has the focus again when what it opened is closed

function closePanel() {
    panel.value = "";
}

function closeSides() {
    listOpen.value = false;
    panel.value = "";
}

function toggleList(event) {
    opener = event.currentTarget;
    listOpen.value = !listOpen.value;
    if (!narrow.value) savePreference("list", listOpen.value);
}

function togglePanel(event, name) {
    opener = event.currentTarget;
    panel.value = panel.value === name ? "" : name;
}

const THEMES = { auto: "light", light: "dark", dark: "auto" };

function ThemeButton() {
    const label = `Colours: ${state.theme.value}`;
    const next = () => (state.theme.value = THEMES[state.theme.value]);
    return (
        <button type="button" class="quiet" onClick={next} aria-label={label} title={label}>
            <Icon name={state.theme.value} />
        </button>
    );
}

function Toggle({ icon, label, open, controls, onClick }) {
    return (
        <button type="button" class="quiet" onClick={onClick} aria-expanded={open} aria-controls={controls} aria-label={label} title={label}>
            <Icon name={icon} />
        </button>
    );
}

function ModelPicker() {
    const models = state.models.value;
    if (models.length < 2) return <span class="model">{models[0]?.id ?? ""}</span>;
    return (
        <select class="model" aria-label="Model" value={state.model.value.id} onChange={(event) => state.changeSettings({ model: event.target.value })}>
            {models.map((each) => <option key={each.id}>{each.id}</option>)}
        </select>
    );
}

function Bar() {
    const conversation = state.current.value;
    return (
        <header class="bar">
            <Toggle icon="menu" label="Conversations" open={listOpen.value} controls="list" onClick={toggleList} />
            <ModelPicker />
            <h1>{titleOf(conversation)}</h1>
            <Pulse onClick={(event) => togglePanel(event, "figures")} open={panel.value === "figures"} />
            <Toggle icon="settings" label="Settings" open={panel.value === "settings"} controls="panel" onClick={(event) => togglePanel(event, "settings")} />
            <ThemeButton />
        </header>
    );
}

function Panel() {
    const name = panel.value;
    const heading = useRef();
    useLayoutEffect(() => heading.current?.focus(), [name]);
    if (!name) return null;
    return (
        <aside id="panel" class="panel" aria-labelledby="panel-title">
            <header>
                <h2 id="panel-title" ref={heading} tabIndex={-1}>{name === "settings" ? "Settings" : "Live figures"}</h2>
                <button type="button" class="quiet" onClick={closePanel} aria-label="Close"><Icon name="close" /></button>
            </header>
            {name === "settings" ? <Settings /> : <Figures />}
        </aside>
    );
}

function Side() {
    return (
        <nav id="list" class="side" aria-label="Conversations" hidden={!listOpen.value}>
            <div class="brand"><Logo /><span>nibble</span></div>
            <ConversationList onChosen={() => narrow.value && closeSides()} />
            <p class="version">{state.version.value && `nibble ${state.version.value}`}</p>
        </nav>
    );
}

function Notice() {
    const notice = state.notice.value;
    const close = () => (state.notice.value = null);
    useEffect(() => {
        if (!notice) return;
        const timer = setTimeout(close, 12_000);
        return () => clearTimeout(timer);
    }, [notice]);
    return (
        <div class="notice" role="alert" hidden={!notice}>
            <span>{notice?.text}</span>
            {notice?.action && <button type="button" onClick={() => { close(); notice.action.run(); }}>{notice.action.label}</button>}
            {notice && <button type="button" class="quiet" onClick={close} aria-label="Dismiss"><Icon name="close" /></button>}
        </div>
    );
}

// Escape closes what lies over the talk, then stops the answer.
function onKey(event) {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (narrow.value && (listOpen.value || panel.value)) closeSides();
    else if (panel.value) closePanel();
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
    const covered = narrow.value && (listOpen.value || panel.value !== "");
    const open = covered || panel.value !== "";
    const wasOpen = useRef(false);
    useLayoutEffect(() => {
        if (covered && listOpen.value) document.querySelector("#list button").focus();
        if (wasOpen.current && !open) opener?.focus();
        wasOpen.current = open;
    }, [open]);
    return (
        <div class="app">
            <a class="skip" href="#message" onClick={(event) => { event.preventDefault(); document.getElementById("message").focus(); }}>Skip to the message</a>
            <Side />
            <div class="middle" inert={covered}>
                <Bar />
                <main>
                    <Talk />
                    <Composer />
                </main>
            </div>
            {covered && <div class="cover" onClick={closeSides} />}
            <Panel />
            <Notice />
            <KeyDialog />
            <p class="spoken" role="status">{state.announcement.value}</p>
        </div>
    );
}
