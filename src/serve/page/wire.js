// Conversations in the form that the API has for them: an array of messages.
import { addMessage, createConversation, pathTo } from "./tree.js";

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
                calls: calls.map((call) => ({
                    id: textOf(call?.id),
                    name: textOf(call?.function?.name),
                    arguments: textOf(call?.function?.arguments),
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
