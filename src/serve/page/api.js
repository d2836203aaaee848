// The API of the server that gave this page. The key is kept for the tab only.
import { signal } from "@preact/signals";
import { eventReader } from "./sse.js";

const KEY = "nibble.key";
const base = location.pathname.replace(/\/+$/, ""); // of --root-path, or nothing

// While the server wants a key: {accept(key), refuse(), wrong: the one before was not right}; else null.
export const keyWanted = signal(null);

async function failure(response) {
    const body = await response.text();
    let message = "";
    try {
        message = JSON.parse(body).error?.message;
    } catch {
        // a proxy's page
    }
    return new Error(message || `The server answered ${response.status} ${response.statusText}`);
}

async function send(path, options) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    try {
        return await fetch(base + path, { ...options, headers, credentials: "same-origin", redirect: "error" });
    } catch (error) {
        if (options.signal?.aborted) throw error;
        throw new Error("The server cannot be reached.");
    }
}

const askForKey = () =>
    new Promise((resolve, reject) => {
        const refuse = () => reject(new Error("The server needs an API key."));
        const earlier = keyWanted.value;
        keyWanted.value = {
            accept(key) {
                sessionStorage.setItem(KEY, key);
                keyWanted.value = null;
                earlier?.accept(key);
                resolve();
            },
            refuse() {
                keyWanted.value = null;
                earlier?.refuse();
                refuse();
            },
            wrong: sessionStorage.getItem(KEY) !== null,
        };
    });

// The response, whose status is good. Asks for a key as long as the one it has is not right.
async function request(path, options = {}) {
    for (;;) {
        const response = await send(path, options);
        if (response.ok) return response;
        if (response.status !== 401) throw await failure(response);
        await askForKey();
    }
}

export async function getModels() {
    const { data } = await (await request("/v1/models")).json();
    return Array.isArray(data) ? data.filter((model) => typeof model?.id === "string") : [];
}

export const getVersion = async () => String((await (await request("/version")).json()).version);

export async function getMetrics() {
    const response = await send("/metrics", {});
    if (!response.ok) throw await failure(response);
    return response.text();
}

// The count of tokens comes with each chunk, so that the speed is seen while the answer streams.
const STREAM_OPTIONS = { include_usage: true, continuous_usage_stats: true };

// Streams a chat completion: `onChunk` gets each chunk. Ends when the answer does; throws if it ends early.
export async function streamChat(body, signal, onChunk) {
    const response = await request("/v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...body, stream: true, stream_options: STREAM_OPTIONS }),
        signal,
    });
    let done = false;
    const feed = eventReader((data) => {
        if (data === "[DONE]") done = true;
        if (done) return;
        const chunk = parseChunk(data);
        if (chunk.error) throw new Error(String(chunk.error.message ?? "The server failed."));
        onChunk(chunk);
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
        while (!done) {
            const { value, done: closed } = await reader.read();
            if (closed) break;
            feed(value);
        }
    } finally {
        reader.cancel().catch(() => {});
    }
    if (!done) throw new Error("The connection ended before the answer did.");
}

function parseChunk(data) {
    try {
        const chunk = JSON.parse(data);
        if (chunk && typeof chunk === "object") return chunk;
    } catch {
        // said below
    }
    throw new Error("The server sent something that is not JSON.");
}
