// Runs a request and follows its answer.
import { mergeChunk } from "./answer.js";
import { streamChat } from "./api.js";

// An answer that streams is shown every 50 ms, a long one less often: showing it costs more.
const refreshMs = ({ content }) => 50 + content.length / 500;

// Runs a request and reports the fields of the message, which may have text already, through `change`, not more often than
// the eye can see.
export async function streamAnswer(request, { content, reasoning, stats: earlier }, signal, change) {
    const message = { content, reasoning, calls: [], usage: null, finish: null };
    const stats = { firstMs: null, thoughtMs: earlier?.thoughtMs ?? null, decodeMs: null };
    const began = performance.now();
    const note = () => {
        const now = performance.now() - began;
        stats.firstMs ??= now;
        stats.decodeMs = now - stats.firstMs;
        if (message.reasoning && !message.content && !message.calls.length) stats.thoughtMs = stats.decodeMs;
    };
    const fields = (state) => ({
        ...message,
        calls: message.calls.map((call) => ({ ...call })),
        state,
        stats: { ...stats },
    });
    let timer = null;
    const refresh = () => {
        timer = null;
        change(fields("running"));
    };
    let end;
    try {
        await streamChat(request, signal, (chunk) => {
            if (mergeChunk(message, chunk)) note();
            timer ??= setTimeout(refresh, refreshMs(message));
        });
        end = fields("done");
    } catch (error) {
        end = signal.aborted ? fields("stopped") : { ...fields("failed"), error: error.message };
    }
    clearTimeout(timer);
    change(end);
    return end;
}
