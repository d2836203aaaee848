// The state of the page, and everything that changes it. Views read the signals and call the functions.
import { computed, effect, signal } from "@preact/signals";
import { requestFields } from "./answer.js";
import * as api from "./api.js";
import * as store from "./store.js";
import { streamAnswer } from "./stream.js";
import * as tree from "./tree.js";
import { readConversation, wireMessages } from "./wire.js";

const IMPORT_BYTES_MAX = 20 << 20;
export const DEFAULT_SETTINGS = { model: "", system: "", thinking: "", tools: "", schema: "" };

export const conversations = signal([]); // newest first; among them the current one, once it holds a message
export const current = signal(tree.createConversation(store.loadPreference("settings", DEFAULT_SETTINGS)));
export const models = signal([]);
export const version = signal("");
export const running = signal({}); // the AbortController of each conversation whose answer streams, by its id
export const notice = signal(null); // {text, action?: {label, run}}
export const announcement = signal(""); // for screen readers
export const theme = signal(store.loadPreference("theme", "auto"));

export const settings = computed(() => current.value.settings);
export const isRunning = computed(() => current.value.id in running.value);
export const path = computed(() => tree.pathTo(current.value));
export const model = computed(
    () => models.value.find((each) => each.id === settings.value.model) ?? models.value[0] ?? null,
);

effect(() => {
    document.documentElement.dataset.theme = theme.value;
    store.savePreference("theme", theme.value);
});

effect(() => {
    if (store.trouble.value) notice.value = { text: store.trouble.value };
});

// ---- Conversations

// Puts a changed conversation where it belongs, and keeps it.
function put(conversation) {
    if (conversation.id === current.value.id) current.value = conversation;
    if (!conversation.leaf) return;
    const others = conversations.value.filter((each) => each.id !== conversation.id);
    conversations.value = newestFirst([...others, conversation]);
    store.saveConversation(conversation);
}

const newestFirst = (list) => list.sort((a, b) => b.updated - a.updated);

const find = (id) => (id === current.value.id ? current.value : conversations.value.find((each) => each.id === id));

export function newConversation() {
    current.value = tree.createConversation(store.loadPreference("settings", settings.value));
    location.hash = "";
}

export function openConversation(id) {
    const conversation = find(id);
    if (!conversation) return newConversation();
    current.value = conversation;
    location.hash = id;
}

export function renameConversation(id, title) {
    put({ ...find(id), title: title.trim().slice(0, 200) });
}

export function deleteConversation(id) {
    const conversation = find(id);
    stop(id);
    conversations.value = conversations.value.filter((each) => each.id !== id);
    store.removeConversation(id);
    if (current.value.id === id) newConversation();
    notice.value = {
        text: `“${tree.titleOf(conversation)}” is deleted.`,
        action: {
            label: "Undo",
            run: () => {
                put(tree.settle(conversation));
                openConversation(id);
            },
        },
    };
}

export function changeSettings(change) {
    const settings = { ...current.value.settings, ...change };
    store.savePreference("settings", settings);
    put({ ...current.value, settings });
}

const fileNameOf = (conversation) =>
    tree
        .titleOf(conversation)
        .replace(/[^\p{L}\p{N}]+/gu, "-")
        .slice(0, 60) || "conversation";

export function exportConversation(id) {
    const conversation = find(id);
    const content = { ...conversation, messages: wireMessages(conversation) };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }));
    link.download = `${fileNameOf(conversation)}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export async function importConversation(file) {
    try {
        if (file.size > IMPORT_BYTES_MAX) throw new Error(`it has more than ${IMPORT_BYTES_MAX} bytes`);
        const conversation = readConversation(JSON.parse(await file.text()), settings.value);
        put(conversation);
        openConversation(conversation.id);
    } catch (error) {
        notice.value = { text: `${file.name} cannot be read: ${error.message}` };
    }
}

// Another tab changed a conversation, or removed it. One that is answered here stays as it is.
function take(id, conversation) {
    if (id in running.value) return;
    const others = conversations.value.filter((each) => each.id !== id);
    conversations.value = conversation ? newestFirst([...others, conversation]) : others;
    if (id === current.value.id && conversation) current.value = conversation;
}

// ---- Messages

export function sendMessage(content) {
    put(tree.addMessage(current.value, { role: "user", content }));
    location.hash = current.value.id;
    return answer();
}

export function editMessage(id, content) {
    const { parent } = current.value.nodes[id];
    put(tree.addMessage(current.value, { role: "user", content }, parent));
    return answer();
}

export function regenerate(id) {
    return answer(current.value.nodes[id].parent);
}

export function showVersion(id) {
    put(tree.showVersion(current.value, id));
}

// Results of the tool calls of a message: [{callId, name, content}].
export function sendResults(id, results) {
    let conversation = { ...current.value, leaf: id };
    for (const result of results) conversation = tree.addMessage(conversation, { role: "tool", ...result });
    put(conversation);
    return answer();
}

export function stop(id = current.value.id) {
    running.value[id]?.abort();
}

// The request for what follows a message.
function requestAfter(leaf) {
    const chosen = model.value?.id;
    return {
        messages: wireMessages({ ...current.value, leaf }),
        ...(chosen && { model: chosen }),
        ...requestFields(settings.value),
    };
}

// Has the model answer below a message.
async function answer(parent = current.value.leaf) {
    if (isRunning.value) return;
    const request = requestAfter(parent);
    const isJson = "response_format" in request;
    const begun = { role: "assistant", state: "running", isJson, reasoning: "", calls: [] };
    put(tree.addMessage(current.value, begun, parent));
    await follow(request, current.value.leaf);
}

// Has the model go on with an answer that ended early.
export async function continueAnswer(id) {
    if (isRunning.value) return;
    const request = { ...requestAfter(id), continue_final_message: true, add_generation_prompt: false };
    put(tree.changeMessage(current.value, id, { state: "running" }));
    await follow(request, id);
}

// Runs a request, whose answer is added to a message of the current conversation.
async function follow(request, message) {
    const { id: conversation, nodes } = current.value;
    const abort = new AbortController();
    running.value = { ...running.value, [conversation]: abort };
    announcement.value = "Answering";
    const end = await streamAnswer(request, nodes[message], abort.signal, (change) => {
        const now = find(conversation);
        if (now) put(tree.changeMessage(now, message, change));
    });
    const { [conversation]: _, ...others } = running.value;
    running.value = others;
    store.flushConversations();
    announcement.value = spokenEnd(end);
}

const SPOKEN_MAX = 2000;

function spokenEnd({ state, error, content, calls }) {
    if (state === "failed") return `The answer failed: ${error}`;
    if (state === "stopped") return "Stopped";
    const called = calls.length ? ` The model calls ${calls.map((call) => call.name).join(", ")}.` : "";
    return `The answer is complete.${called} ${content.slice(0, SPOKEN_MAX)}`;
}

// ---- The start

export async function start() {
    store.watchTabs(take);
    addEventListener("pagehide", store.flushConversations);
    addEventListener("visibilitychange", () => document.hidden && store.flushConversations());
    addEventListener("hashchange", () => {
        const id = location.hash.slice(1);
        if (!id && current.value.leaf) newConversation();
        else if (id && id !== current.value.id && find(id)) openConversation(id);
    });
    try {
        conversations.value = (await store.loadConversations()).map(tree.settle);
    } catch {
        notice.value = { text: "This browser keeps no data for the page: conversations end with the tab." };
    }
    const id = location.hash.slice(1);
    if (id) openConversation(id);
    await loadServer();
}

export async function loadServer() {
    try {
        models.value = await api.getModels();
        version.value = await api.getVersion();
    } catch (error) {
        notice.value = { text: error.message, action: { label: "Try again", run: loadServer } };
    }
}
