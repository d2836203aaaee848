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

// The conversation with no answer running: whatever ran was stopped when the page went away.
export function settle(conversation) {
    const nodes = Object.fromEntries(
        Object.entries(conversation.nodes).map(([id, node]) => [
            id,
            node.state === "running" ? { ...node, state: "stopped" } : node,
        ]),
    );
    return { ...conversation, nodes };
}
