// What the browser keeps: conversations in IndexedDB, a few preferences in localStorage. Nothing leaves the machine.
import { signal } from "@preact/signals";
import { createStore, del, entries, set } from "idb-keyval";

export const CONVERSATIONS_MAX = 500; // the oldest ones go first
const SAVE_AFTER_MS = 400;

export const trouble = signal(""); // why something could not be kept

let database = null;
const tabs = new BroadcastChannel("nibble"); // tells the other tabs of this browser what was kept or removed
const pending = new Map(); // what is to be written: {conversation, timer} by id

// All conversations, newest first. Throws if this browser keeps none (some private windows).
export async function loadConversations() {
    database = createStore("nibble", "conversations");
    const all = (await entries(database)).map(([, conversation]) => conversation);
    all.sort((a, b) => b.updated - a.updated);
    for (const old of all.splice(CONVERSATIONS_MAX)) await del(old.id, database);
    return all;
}

// Soon, and once for many changes.
export function saveConversation(conversation) {
    if (!database) return;
    const timer = pending.get(conversation.id)?.timer ?? setTimeout(() => write(conversation.id), SAVE_AFTER_MS);
    pending.set(conversation.id, { conversation, timer });
}

function write(id) {
    const { conversation } = pending.get(id);
    pending.delete(id);
    set(id, conversation, database)
        .then(() => tabs.postMessage({ id, conversation }))
        .catch(complain);
}

const complain = (error) => (trouble.value = `The browser does not keep this conversation: ${error.message}`);

// What waits is written now: the tab may be about to go.
export function flushConversations() {
    for (const [id, { timer }] of pending) {
        clearTimeout(timer);
        write(id);
    }
}

export function removeConversation(id) {
    clearTimeout(pending.get(id)?.timer);
    pending.delete(id);
    if (!database) return;
    del(id, database)
        .then(() => tabs.postMessage({ id }))
        .catch(complain);
}

// `onChange` gets the id, and the conversation unless it was removed, whenever another tab has changed one.
export function watchTabs(onChange) {
    tabs.onmessage = ({ data }) => onChange(data.id, data.conversation);
}

export function loadPreference(name, otherwise) {
    try {
        return JSON.parse(localStorage.getItem(`nibble.${name}`)) ?? otherwise;
    } catch {
        return otherwise;
    }
}

export function savePreference(name, value) {
    try {
        localStorage.setItem(`nibble.${name}`, JSON.stringify(value));
    } catch {
        // full or forbidden: it holds for this visit
    }
}
