// The parts of the page that need no browser.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { mergeChunk, readSchema, readTools, requestFields, splitThoughts } from "../../src/serve/page/answer.js";
import { figuresBetween, parseMetrics } from "../../src/serve/page/prometheus.js";
import { eventReader } from "../../src/serve/page/sse.js";
import * as tree from "../../src/serve/page/tree.js";
import { readConversation, wireMessages } from "../../src/serve/page/wire.js";

const events = (...pieces) => {
    const found = [];
    const feed = eventReader((data) => found.push(data));
    pieces.forEach(feed);
    return found;
};

test("events are the same in whatever pieces they come", () => {
    const text = ": a comment\r\ndata: one\r\n\r\nevent: x\ndata: two\ndata:three\n\ndata: four\r\rdata: cut off\n";
    const whole = events(text);
    assert.deepEqual(whole, ["one", "two\nthree", "four"]);
    for (let i = 1; i < text.length; i++) assert.deepEqual(events(text.slice(0, i), text.slice(i)), whole);
    assert.deepEqual(events(...text), whole);
});

test("an event without an end is refused before it fills the memory", () => {
    const feed = eventReader(() => {});
    assert.throws(() => {
        for (let i = 0; i < 100; i++) feed("x".repeat(1 << 20));
    }, /without an end/);
});

test("deltas add up to a message, whatever their shape", () => {
    const message = { content: "", reasoning: "", calls: [] };
    const deltas = [
        { role: "assistant", content: "" },
        { reasoning_content: "a", reasoning: "a" },
        { reasoning: "b" },
        { content: "c" },
        { tool_calls: [{ index: 0, id: "1", function: { name: "f", arguments: '{"x"' } }] },
        { tool_calls: [{ index: 0, function: { arguments: ": 1}" } }] },
        { tool_calls: [{ index: 1e9, function: { name: "far" } }, null, 5] },
        { tool_calls: "no" },
        { content: { a: 1 } },
        7,
        null,
    ];
    for (const each of deltas) mergeChunk(message, { choices: [{ delta: each }] });
    for (const chunk of [{}, { choices: "x" }, { choices: [null] }, { usage: { completion_tokens: 3 } }])
        mergeChunk(message, chunk);
    assert.equal(message.content, "c");
    assert.equal(message.reasoning, "ab");
    assert.deepEqual(message.calls[0], { id: "1", name: "f", arguments: '{"x": 1}' });
    assert.ok(message.calls.length <= 4);
    assert.deepEqual(message.usage, { prompt_tokens: 0, completion_tokens: 3, cached_tokens: 0 });
});

test("think blocks are told apart from the answer, whole, open, or opened by the prompt", () => {
    const cases = {
        19: ["", "19"],
        "<think>\na\n</think>\n\n19": ["\na\n", "19"],
        "a</think>19": ["a", "19"],
        "\n<think>a": ["a", ""],
        "Write <think> first, then </think>.": ["", "Write <think> first, then </think>."],
    };
    for (const [text, [reasoning, content]] of Object.entries(cases))
        assert.deepEqual(splitThoughts(text), { reasoning, content });
});

test("empty settings are left to the server", () => {
    assert.deepEqual(requestFields({ temperature: "", top_k: "", thinking: "", tools: "" }), {});
    assert.deepEqual(requestFields({ temperature: "0", seed: "7", top_p: "x", thinking: "off" }), {
        temperature: 0,
        seed: 7,
        chat_template_kwargs: { enable_thinking: false },
    });
});

test("tools are taken bare or in OpenAI's form, and mistakes are told", () => {
    const bare = { name: "f", parameters: {} };
    const full = { type: "function", function: bare };
    for (const each of [bare, [bare], [full], full])
        assert.deepEqual(readTools(JSON.stringify(each)), { tools: [full] });
    assert.match(readTools("{").error, /Not JSON/);
    assert.match(readTools("[{}]").error, /needs a name/);
    assert.match(readTools("null").error, /needs a name/);
    assert.deepEqual(readTools("  "), { tools: [] });
});

test("a schema is an object, or a mistake that is told", () => {
    assert.deepEqual(readSchema('{"type": "object"}'), { schema: { type: "object" } });
    assert.deepEqual(readSchema(" "), {});
    for (const each of ["[]", "5", "null"]) assert.match(readSchema(each).error, /is an object/);
    assert.match(readSchema("{").error, /Not JSON/);
});

test("without npm the build takes the plain page, and says so; where the page is required it fails", (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "page-test-"));
    t.after(() => fs.rmSync(folder, { recursive: true }));
    const source = fileURLToPath(new URL("../../src/serve/page", import.meta.url));
    const [out, absent] = [path.join(folder, "out.c"), path.join(source, "absent/page_absent.c")];
    const build = (...more) =>
        spawnSync(
            process.execPath,
            [path.join(source, "build/build.mjs"), out, path.join(folder, "packages"), ...more],
            {
                env: { PATH: "/nowhere" },
                encoding: "utf8",
            },
        );
    const tolerant = build(absent);
    assert.equal(tolerant.status, 0);
    assert.match(tolerant.stderr, /The page is left out/);
    assert.equal(fs.readFileSync(out, "utf8"), fs.readFileSync(absent, "utf8"));
    assert.notEqual(build().status, 0);
});

test("figures are the growth of counters and the state of gauges", () => {
    const text = (tokens, sum) => `# HELP x y
vllm:generation_tokens_total{engine="0",model_name="a} 9 {"} ${tokens}
vllm:num_requests_running{engine="0"} 2
vllm:time_to_first_token_seconds_bucket{le="0.001"} 5
vllm:time_to_first_token_seconds_sum{engine="0"} ${sum}
vllm:time_to_first_token_seconds_count{engine="0"} ${tokens / 10}
garbage {{{
vllm:kv_cache_usage_perc 2.5e-1`;
    const figures = figuresBetween(parseMetrics(text(10, 1)), parseMetrics(text(30, 2)), 2);
    assert.equal(figures.generated, 10);
    assert.equal(figures.running, 2);
    assert.equal(figures.cache, 0.25);
    assert.equal(figures.firstToken, 0.5);
    assert.equal(figures.hits, null);
    assert.equal(figuresBetween({ "vllm:generation_tokens_total": 50 }, {}, 1).generated, 0); // the server began anew
});

test("edited and repeated messages become versions; nothing is lost", () => {
    const start = tree.createConversation({ system: "be brief" });
    const asked = tree.addMessage(start, { role: "user", content: "one" });
    const answered = tree.addMessage(asked, { role: "assistant", content: "1", calls: [], reasoning: "r" });
    const again = tree.addMessage(answered, { role: "assistant", content: "2", calls: [] }, asked.leaf);
    const edited = tree.addMessage(again, { role: "user", content: "two" }, null);
    assert.equal(start.leaf, null);
    assert.deepEqual(
        tree.pathTo(edited).map((node) => node.content),
        ["two"],
    );
    assert.deepEqual(tree.versionsOf(edited, edited.leaf), [asked.leaf, edited.leaf]);
    const back = tree.showVersion(edited, asked.leaf);
    assert.deepEqual(
        tree.pathTo(back).map((node) => node.content),
        ["one", "2"],
    );
    assert.deepEqual(tree.versionsOf(back, back.leaf), [answered.leaf, again.leaf]);
    assert.deepEqual(wireMessages(answered), [
        { role: "system", content: "be brief" },
        { role: "user", content: "one" },
        { role: "assistant", content: "1", reasoning_content: "r" },
    ]);
    assert.equal(tree.titleOf(back), "one");
    const running = tree.changeMessage(back, back.leaf, { state: "running" });
    assert.equal(tree.settle(running).nodes[back.leaf].state, "stopped");
});

test("a conversation that is read again says the same, and what is no conversation is refused", () => {
    const settings = { system: "be brief", temperature: "0" };
    const calls = [{ id: "c1", name: "f", arguments: "{}" }];
    const turns = [
        { role: "user", content: "one" },
        { role: "assistant", content: "", reasoning: "r", calls },
        { role: "tool", callId: "c1", name: "f", content: "42" },
        { role: "assistant", content: "two", calls: [] },
    ];
    const written = turns.reduce((each, turn) => tree.addMessage(each, turn), tree.createConversation(settings));
    const read = readConversation({ title: "T", messages: wireMessages(written) }, { temperature: "0" });
    assert.deepEqual(wireMessages(read), wireMessages(written));
    assert.equal(read.title, "T");
    assert.equal(read.settings.temperature, "0");
    const parts = [null, 5, { role: "user", content: [{ type: "text", text: "a" }, null, { text: {} }] }];
    assert.equal(tree.pathTo(readConversation(parts, {}))[0].content, "a\n\n");
    const call = { role: "assistant", content: null, tool_calls: [null, {}, { function: 5 }] };
    assert.equal(tree.pathTo(readConversation([call], {}))[0].calls.length, 3);
    const odd = [
        null,
        5,
        "x",
        {},
        [],
        [{ role: "no" }],
        { messages: {} },
        { messages: Array(2001).fill({ role: "user" }) },
    ];
    for (const each of odd) assert.throws(() => readConversation(each, {}), /messages/);
});

test("tool calls and their results go back in OpenAI's form", () => {
    const calls = [{ id: "c1", name: "f", arguments: "{}" }];
    const called = tree.addMessage(tree.createConversation({}), { role: "assistant", calls });
    const given = tree.addMessage(called, { role: "tool", callId: "c1", name: "f", content: "42" });
    assert.deepEqual(wireMessages(given), [
        {
            role: "assistant",
            content: "",
            tool_calls: [{ id: "c1", type: "function", function: { name: "f", arguments: "{}" } }],
        },
        { role: "tool", tool_call_id: "c1", content: "42" },
    ]);
});
