// An answer as it arrives: chunks of the API merged into a message.

// Adds one chunk to what the message has so far; true if any text came.
export function mergeChunk(message, chunk) {
    const choice = chunk.choices?.[0];
    if (chunk.usage) message.usage = readUsage(chunk.usage);
    if (choice?.finish_reason) message.finish = String(choice.finish_reason);
    const delta = choice?.delta;
    if (!delta) return false;
    const content = text(delta.content);
    const reasoning = text(delta.reasoning_content ?? delta.reasoning);
    message.content += content;
    message.reasoning += reasoning;
    const calls = Array.isArray(delta.tool_calls) ? delta.tool_calls.filter((call) => call?.function) : [];
    calls.forEach((call) => mergeCall(message.calls, call));
    return content !== "" || reasoning !== "" || calls.length > 0;
}

const count = (value) => (Number.isFinite(value) && value > 0 ? value : 0);

const readUsage = (usage) => ({
    prompt_tokens: count(usage.prompt_tokens),
    completion_tokens: count(usage.completion_tokens),
    cached_tokens: count(usage.prompt_tokens_details?.cached_tokens),
});

const text = (value) => (typeof value === "string" ? value : "");

const CALLS_MAX = 128;

function mergeCall(calls, delta) {
    const index = Number.isInteger(delta.index) ? delta.index : calls.length;
    if (index < 0 || index >= CALLS_MAX) return;
    while (calls.length <= index) calls.push({ id: "", name: "", arguments: "" });
    const call = calls[index];
    call.id ||= text(delta.id);
    call.name += text(delta.function.name);
    call.arguments += text(delta.function.arguments);
}

// {reasoning, content} of text that still has its think block, because the server was started without a parser for it.
// The prompt may have opened the block already; then only its end is in the text.
export function splitThoughts(content) {
    const end = content.indexOf("</think>");
    const begins = /^\s*<think>/.exec(content);
    if (end < 0)
        return begins ? { reasoning: content.slice(begins[0].length), content: "" } : { reasoning: "", content };
    if (!begins && content.includes("<think>")) return { reasoning: "", content };
    return { reasoning: content.slice(begins?.[0].length ?? 0, end), content: content.slice(end + 8).trimStart() };
}

// The fields of a request that stand for settings; what is empty is left to the server.
export function requestFields(settings) {
    const fields = {};
    const numbers = [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "repetition_penalty",
        "max_tokens",
        "seed",
    ];
    for (const name of numbers) {
        const value = settings[name];
        if (value !== undefined && value !== "" && Number.isFinite(Number(value))) fields[name] = Number(value);
    }
    if (settings.thinking) fields.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
    const { tools } = readTools(settings.tools);
    if (tools.length) fields.tools = tools;
    const { schema } = readSchema(settings.schema);
    if (schema) fields.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
    return fields;
}

// The schema that answers must follow, from what the user wrote: {schema, error}; neither when nothing is written.
export function readSchema(json) {
    if (!json?.trim()) return {};
    try {
        const schema = JSON.parse(json);
        const isObject = schema !== null && typeof schema === "object" && !Array.isArray(schema);
        return isObject ? { schema } : { error: 'A schema is an object: {"type": "object", …}' };
    } catch (error) {
        return { error: `Not JSON: ${error.message}` };
    }
}

// Tool definitions from what the user wrote: {tools, error}.
export function readTools(json) {
    if (!json?.trim()) return { tools: [] };
    try {
        const value = JSON.parse(json);
        const list = Array.isArray(value) ? value : [value];
        const tools = list.map((each) => (each?.function ? each : { type: "function", function: each }));
        if (tools.every((tool) => typeof tool.function?.name === "string")) return { tools };
        return { tools: [], error: 'Each tool needs a name: {"name": …, "parameters": …}' };
    } catch (error) {
        return { tools: [], error: `Not JSON: ${error.message}` };
    }
}
