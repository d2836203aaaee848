// A conversation is a tree of messages, so that nothing is lost when a message is edited or an answer is made again: the
// new one becomes a sibling of the old. What is shown is the path from the root to `leaf`. All functions are pure: they
// return a new conversation and leave the old one alone.
//
// message: {id, parent, at, role, content}; of the model also {reasoning, calls: [{id, name, arguments}], isJson, model,
// state, error, usage, finish, stats}; of a tool {callId, name}

// crypto.randomUUID is not there on plain HTTP.
export function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function createConversation(settings) {
    const at = Date.now();
    return { id: newId(), title: "", created: at, updated: at, leaf: null, nodes: {}, settings };
}

export function titleOf(conversation) {
    if (conversation.title) return conversation.title;
    const first = Object.values(conversation.nodes).find((node) => node.role === "user");
    return first ? first.content.trim().split("\n")[0].slice(0, 80) : "New conversation";
}

// Adds a message below `parent` (default: at the end of the path) and shows it.
export function addMessage(conversation, message, parent = conversation.leaf) {
    const node = { id: newId(), content: "", at: Date.now(), ...message, parent };
    return { ...conversation, updated: node.at, leaf: node.id, nodes: { ...conversation.nodes, [node.id]: node } };
}

export function changeMessage(conversation, id, change) {
    const node = { ...conversation.nodes[id], ...change };
    return { ...conversation, updated: Date.now(), nodes: { ...conversation.nodes, [id]: node } };
}

export function pathTo(conversation, id = conversation.leaf) {
    const path = [];
    for (let node = conversation.nodes[id]; node; node = conversation.nodes[node.parent]) path.unshift(node);
    return path;
}

// The ids of the versions of a message, oldest first, itself among them.
export function versionsOf(conversation, id) {
    const { parent } = conversation.nodes[id];
    return Object.values(conversation.nodes)
        .filter((node) => node.parent === parent)
        .map((node) => node.id);
}

// Shows a message and the newest of what follows it.
export function showVersion(conversation, id) {
    let leaf = id;
    for (;;) {
        const below = Object.values(conversation.nodes).filter((node) => node.parent === leaf);
        if (!below.length) return { ...conversation, leaf };
        leaf = below.at(-1).id;
    }
}

const MESSAGES_MAX = 2000;

const textOf = (content) =>
    Array.isArray(content)
        ? content.map((part) => textOf(part?.text)).join("\n")
        : typeof content === "string"
          ? content
          : "";

// A message as the API takes it, as one of ours; null for roles that have no place in a conversation.
function readMessage(message) {
    const content = textOf(message?.content);
    const calls = Array.isArray(message?.tool_calls) ? message.tool_calls : [];
    switch (message?.role) {
        case "user":
            return { role: "user", content };
        case "tool":
            return { role: "tool", content, callId: textOf(message.tool_call_id), name: textOf(message.name) };
        case "assistant":
            return {
                role: "assistant",
                state: "done",
                content,
                reasoning: textOf(message.reasoning_content),
                calls: calls.map(({ id, function: f }) => ({
                    id: textOf(id),
                    name: textOf(f?.name),
                    arguments: textOf(f?.arguments),
                })),
            };
        default:
            return null;
    }
}

// A conversation from an exported one, or from messages as the API takes them. Throws what is wrong with it.
export function readConversation(value, settings) {
    const messages = Array.isArray(value) ? value : value?.messages;
    if (!Array.isArray(messages)) throw new Error("there are no messages in it");
    if (messages.length > MESSAGES_MAX) throw new Error(`it has more than ${MESSAGES_MAX} messages`);
    const system = textOf(messages.find((message) => message?.role === "system")?.content);
    const empty = { ...createConversation({ ...settings, system }), title: textOf(value.title).slice(0, 200) };
    const read = messages.map(readMessage).filter(Boolean);
    if (read.length === 0) throw new Error("there are no messages in it");
    return read.reduce((conversation, message) => addMessage(conversation, message), empty);
}

const wireCall = (call) => ({
    id: call.id,
    type: "function",
    function: { name: call.name, arguments: call.arguments },
});

function wireMessage(node) {
    if (node.role === "tool") return { role: "tool", tool_call_id: node.callId, content: node.content };
    const message = { role: node.role, content: node.content };
    if (node.reasoning) message.reasoning_content = node.reasoning;
    if (node.calls?.length) message.tool_calls = node.calls.map(wireCall);
    return message;
}

// The messages of a request, as the API takes them.
export function wireMessages(conversation) {
    const messages = pathTo(conversation).map(wireMessage);
    const { system } = conversation.settings;
    return system?.trim() ? [{ role: "system", content: system }, ...messages] : messages;
}
