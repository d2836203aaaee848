// Server-sent events, as far as answers of the API use them: the data of each event, in order.

const EVENT_CHARS_MAX = 4 << 20;

// Calls `onData` with the data of each whole event. Text may come in any pieces; comments, other fields and an event
// without its final blank line are left out.
export function eventReader(onData) {
    let rest = "";
    let data = [];
    const line = (text) => {
        if (text === "") {
            if (data.length) onData(data.join("\n"));
            data = [];
        } else if (text.startsWith("data:")) {
            data.push(text.slice(text[5] === " " ? 6 : 5));
        }
    };
    return (text) => {
        const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
        rest = lines.pop();
        if (rest.length > EVENT_CHARS_MAX) throw new Error("The server sent an event without an end.");
        for (const each of lines) line(each);
    };
}
