// Talking with the demo through the page: what is shown, what can be changed, what is kept.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PARSERS, delta, ended, finish, say, sleep, startBrowser, startFake, startNibble } from "./support.js";

let nibble, browser;
before(async () => {
    nibble = await startNibble(...PARSERS);
    browser = await startBrowser();
});
after(async () => {
    await browser?.close();
    nibble?.close();
});

const TOOL = {
    name: "book_table",
    description: "Book a table",
    parameters: {
        type: "object",
        properties: { name: { type: "string" }, people: { type: "integer" } },
        required: ["name", "people"],
    },
};

// A page whose conversation draws nothing: the demo's answers are the same each time.
const openGreedy = (settings) => browser.open(nibble.url, { settings: { temperature: "0", ...settings } });

const answers = (page) => page.getByRole("article", { name: "Answer" });
const button = (page, name) => page.getByRole("button", { name, exact: true });

test("an answer streams, with its thoughts folded away and its figures below", async () => {
    const page = await openGreedy();
    await say(page, "What is 12 plus 7?");
    await ended(page);
    const answer = answers(page);
    assert.match(await answer.locator(".markdown").innerText(), /19/);
    const thoughts = answer.getByLabel("Thoughts");
    assert.equal(await thoughts.isVisible(), false);
    await answer.getByText(/^Thought for/).click();
    assert.equal(await thoughts.isVisible(), true);
    assert.match(await answer.locator(".stats").innerText(), /^\d+ tokens · .*first after [\d.]+ m?s/);
    assert.match(await page.locator(".hints").innerText(), /^\d+ of [\d,]+ tokens$/);
    assert.match(await page.title(), /^What is 12 plus 7\?/);
    assert.deepEqual(page.complaints, []);
});

test("thinking can be turned off", async () => {
    const page = await openGreedy({ thinking: "off" });
    await say(page, "What is 12 plus 7?");
    await ended(page);
    assert.match(await answers(page).innerText(), /19/);
    assert.equal(await page.getByText(/^Thought/).count(), 0);
});

test("thoughts are folded away even where the server does not tell them apart", async (t) => {
    const plain = await startNibble();
    t.after(() => plain.close());
    const page = await browser.open(plain.url);
    await say(page, "What is 12 plus 7?");
    await ended(page);
    assert.equal(
        await answers(page)
            .getByText(/^Thought/)
            .count(),
        1,
    );
    assert.doesNotMatch(await answers(page).locator(".markdown").innerText(), /think/);
});

test("an answer can be made again and a message edited; all versions stay, also after a reload", async () => {
    const page = await openGreedy();
    await say(page, "What is 12 plus 7?");
    await ended(page);
    await button(page, "Answer again").click();
    await ended(page);
    const versions = page.getByRole("group", { name: "Versions" });
    assert.equal(await versions.innerText(), "2/2");
    await button(page, "Earlier version").click();
    assert.equal(await versions.innerText(), "1/2");

    await page.getByRole("article", { name: "You" }).hover();
    await button(page, "Edit the message").click();
    await page.getByRole("textbox", { name: "Edit the message" }).fill("What is 3 plus 4?");
    await page.keyboard.press("Enter");
    await ended(page);
    assert.match(await answers(page).locator(".markdown").innerText(), /7/);
    assert.equal(await versions.innerText(), "2/2");

    await page.reload();
    assert.match(await answers(page).locator(".markdown").innerText(), /7/);
    await button(page, "Earlier version").click();
    assert.equal(await page.getByRole("article", { name: "You" }).locator(".bubble").innerText(), "What is 12 plus 7?");
    assert.equal(await versions.last().innerText(), "2/2");
});

test("conversations are kept, renamed, exported, and deleted for good unless that is undone", async () => {
    const page = await openGreedy();
    await say(page, "What is 12 plus 7?");
    await ended(page);
    await button(page, "New conversation").click();
    await say(page, "What is 3 plus 4?");
    await ended(page);
    const list = page.getByRole("navigation", { name: "Conversations" });
    await list.getByRole("button", { name: "What is 12 plus 7?", exact: true }).click();
    assert.match(await answers(page).locator(".markdown").innerText(), /19/);

    await list.getByRole("listitem").filter({ hasText: "12 plus 7" }).hover();
    await button(page, "Rename: What is 12 plus 7?").click();
    await page.getByRole("textbox", { name: "Title" }).fill("Sums");
    await page.keyboard.press("Enter");
    const [download] = await Promise.all([page.waitForEvent("download"), button(page, "Export: Sums").click()]);
    assert.equal(download.suggestedFilename(), "Sums.json");
    const exported = await download.path();

    await button(page, "Delete: Sums").click();
    assert.equal(await list.getByRole("listitem").count(), 1);
    await button(page, "Undo").click();
    assert.equal(await list.getByRole("listitem").count(), 2);
    await list.getByRole("listitem").filter({ hasText: "Sums" }).hover();
    await button(page, "Delete: Sums").click();
    await sleep(600); // longer than changes wait for being written
    await page.reload();
    await list.getByRole("listitem").first().waitFor();
    assert.deepEqual(await list.getByRole("listitem").allInnerTexts(), ["What is 3 plus 4?"]);

    const choose = async (file) => {
        const [chooser] = await Promise.all([
            page.waitForEvent("filechooser"),
            button(page, "Import a conversation").click(),
        ]);
        await chooser.setFiles(file);
    };
    await choose({ name: "odd.json", mimeType: "application/json", buffer: Buffer.from('{"messages": 5}') });
    await page.getByText("odd.json cannot be read: there are no messages in it").waitFor();
    await choose(exported);
    assert.match(await answers(page).locator(".markdown").innerText(), /19/);
    assert.deepEqual(await list.getByRole("listitem").allInnerTexts(), ["Sums", "What is 3 plus 4?"]);
});

test("two tabs show the same conversations, and one can be found by its words", async () => {
    const page = await openGreedy();
    const other = await page.context().newPage();
    await other.goto(nibble.url);
    await say(page, "What is 12 plus 7?");
    await ended(page);
    const row = other.getByRole("listitem").getByRole("button", { name: "What is 12 plus 7?", exact: true });
    await row.click();
    await answers(other).locator(".markdown").getByText("19").waitFor();
    await say(other, "What is 3 plus 4?");
    await ended(other);
    await answers(page).nth(1).waitFor();
    const search = other.getByRole("searchbox", { name: "Search conversations" });
    await search.fill("3 PLUS");
    assert.equal(await row.count(), 1);
    await search.fill("elephants");
    assert.equal(await row.count(), 0);
    await search.fill("");
    await row.hover();
    await button(other, "Delete: What is 12 plus 7?").click();
    await page.getByText("Conversations stay in this browser").waitFor();
});

test("tool calls are shown, and the model goes on with results given by hand", async () => {
    const page = await openGreedy({ tools: JSON.stringify(TOOL) });
    await say(page, "Book a table for 17 people under the name Ben.");
    await ended(page);
    assert.equal(await page.getByText("Call of book_table").count(), 1);
    assert.deepEqual(JSON.parse(await answers(page).locator("pre").innerText()), { name: "Ben", people: 17 });
    await page.getByRole("textbox", { name: "Result" }).fill('{"ok": true}');
    await button(page, "Send result").click();
    await ended(page);
    assert.equal(await answers(page).count(), 2);
    assert.equal(await page.getByText("Result of book_table").count(), 1);
    assert.notEqual(await answers(page).last().locator(".markdown").innerText(), "");
});

test("stopping ends the request and keeps what came", async (t) => {
    let gone = false;
    const fake = await startFake(nibble, {
        async answer(response) {
            response.on("close", () => (gone = true));
            for (let i = 0; !gone; i++, await sleep(20)) {
                const usage = { completion_tokens: i + 1 };
                response.write(delta({ content: `word${i} ` }) + `data: ${JSON.stringify({ choices: [], usage })}\n\n`);
            }
        },
    });
    t.after(() => fake.close());
    const page = await browser.open(fake.url);
    for (const stop of [() => button(page, "Stop").click(), () => page.keyboard.press("Escape")]) {
        gone = false;
        await say(page, "Go on for ever");
        await answers(page).last().getByText("word3").waitFor();
        await answers(page)
            .last()
            .getByText(/^\d+ tokens · [\d.]+ tokens\/s · first after/)
            .waitFor(); // while it streams
        await stop();
        await ended(page);
        assert.match(await answers(page).last().innerText(), /word3[^]*stopped/);
        for (let i = 0; i < 100 && !gone; i++) await sleep(50);
        assert.ok(gone, "the request goes on");
    }
});

test("answers follow a JSON schema and are shown as JSON", async () => {
    const page = await openGreedy({ schema: '{"enum": ["seven", "nineteen"]}' });
    await say(page, "What is 12 plus 7?");
    await ended(page);
    assert.match(JSON.parse(await answers(page).locator("pre").innerText()), /^(seven|nineteen)$/);
    assert.match(await page.locator(".hints").innerText(), /JSON schema/);
});

test("what the server refuses is shown, and sent again", async () => {
    const page = await openGreedy({ temperature: "-1" });
    await button(page, "Settings").click();
    await say(page, "What is 12 plus 7?");
    assert.match(await answers(page).getByRole("alert").innerText(), /temperature/);
    await page.getByLabel("Temperature").fill("0");
    await button(page, "Answer again").click();
    await ended(page);
    assert.match(await answers(page).locator(".markdown").innerText(), /19/);
});

test("an answer that ended early goes on where it ended", async (t) => {
    const bodies = [];
    const fake = await startFake(nibble, {
        async answer(response, body) {
            bodies.push(body);
            if (bodies.length === 1)
                response.end(delta({ reasoning_content: "r" }) + delta({ content: "Hello" }) + finish("length"));
            else if (bodies.length === 2)
                response.end(delta({ content: " wor" })); // the connection breaks
            else response.end(delta({ content: "ld" }) + finish());
        },
    });
    t.after(() => fake.close());
    const page = await browser.open(fake.url);
    await say(page, "Say hello");
    for (const text of ["Hello wor", "Hello world"]) {
        await button(page, "Go on").click();
        await answers(page).locator(".markdown").getByText(text, { exact: true }).waitFor();
        await ended(page);
    }
    assert.equal(await button(page, "Go on").count(), 0);
    assert.equal(await answers(page).getByRole("alert").count(), 0);
    assert.equal(bodies[2].continue_final_message, true);
    assert.equal(bodies[2].add_generation_prompt, false);
    assert.deepEqual(bodies[2].messages.at(-1), { role: "assistant", content: "Hello wor", reasoning_content: "r" });
});

test("the demo goes on with its answer", async () => {
    const page = await openGreedy({ max_tokens: "8", thinking: "off" });
    await say(page, "Who are you?");
    await ended(page);
    const shown = answers(page).locator(".markdown");
    const begun = await shown.innerText();
    await button(page, "Go on").click();
    await ended(page);
    const whole = await shown.innerText();
    assert.ok(whole.startsWith(begun) && whole.length > begun.length, `${begun} | ${whole}`);
});

test("a server that is gone is told, and found again", async () => {
    const lost = await startNibble();
    const page = await browser.open(lost.url);
    await page.getByText("demo ·").waitFor();
    lost.close();
    await say(page, "Are you there?");
    await answers(page).getByText("The server cannot be reached.").waitFor();
});

test("settings reach the server", async (t) => {
    let seen;
    const fake = await startFake(nibble, {
        models: ["one", "two"],
        async answer(response, body) {
            seen = body;
            response.end(delta({ content: "ok" }) + finish());
        },
    });
    t.after(() => fake.close());
    const page = await browser.open(fake.url);
    await page.getByRole("combobox", { name: "Model" }).selectOption("two");
    await button(page, "Settings").click();
    for (const [label, value] of [
        ["System prompt", "Be brief."],
        ["Top p", "0.9"],
        ["Top k", "40"],
        ["Min p", "0.05"],
        ["Max tokens", "64"],
        ["Seed", "7"],
    ])
        await page.getByLabel(label).fill(value);
    await page.getByLabel("On", { exact: true }).check();
    await page.getByLabel("Tools (JSON)").fill("[{");
    await page.getByText(/^Not JSON/).waitFor();
    await page.getByLabel("JSON schema").fill('{"type": "object"}');
    await say(page, "Hello");
    await ended(page);
    assert.deepEqual(seen, {
        model: "two",
        stream: true,
        stream_options: { include_usage: true, continuous_usage_stats: true },
        top_p: 0.9,
        top_k: 40,
        min_p: 0.05,
        max_tokens: 64,
        seed: 7,
        chat_template_kwargs: { enable_thinking: true },
        response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" } } },
        messages: [
            { role: "system", content: "Be brief." },
            { role: "user", content: "Hello" },
        ],
    });
});

test("live figures follow the server", async () => {
    const page = await openGreedy();
    await page.getByRole("button", { name: /^Live figures/ }).click();
    await say(page, "What is 12 plus 7?");
    await page.getByRole("img", { name: /^Generation: (?!0\.0)[\d.]+ tokens\/s/ }).waitFor();
    for (const name of [
        /^Prompts: /,
        /^Batch: \d+ requests/,
        /^Queue: \d+ requests/,
        /^KV cache: [\d.]+%/,
        /^First token: [\d.]+ m?s/,
    ])
        assert.equal(await page.getByRole("img", { name }).count(), 1);
});

test("the page asks for a key, and keeps it for the tab", async (t) => {
    const keyed = await startNibble("--api-key", "secret");
    t.after(() => keyed.close());
    const page = await browser.open(keyed.url);
    const key = page.getByRole("dialog").getByLabel("API key");
    await key.fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("That key was not accepted.").waitFor();
    await key.fill("secret");
    await page.keyboard.press("Enter");
    await page.getByText("demo ·").waitFor();
    await page.reload();
    await page.getByText("demo ·").waitFor();
    assert.equal(await page.getByRole("dialog").count(), 0);
    assert.equal(await page.evaluate(() => localStorage.getItem("nibble.key")), null);
});

test("the page works below a root path, with and without the last slash", async (t) => {
    const below = await startNibble("--root-path", "/llm");
    t.after(() => below.close());
    for (const path of ["/llm", "/llm/"]) {
        const page = await browser.open(below.url + path);
        await page.getByText("demo ·").waitFor();
        assert.ok(page.requested.every((url) => url.startsWith(`${below.url}/llm`) || url.startsWith("data:")));
    }
});

test("Markdown becomes headings, lists, tables and coloured code", async (t) => {
    const languages = {
        bash: "if true; then echo 1; fi",
        c: "int x = 1;",
        cpp: "class A {};",
        css: "a { color: red }",
        diff: "+a\n-b",
        go: "func f() {}",
        html: "<!-- c --><b class='x'>t</b>",
        ini: "a = 1",
        java: "int x = 1;",
        js: "const x = 1;",
        json: '{"a": 1}',
        markdown: "# a",
        python: "def f(): pass",
        rust: "fn f() {}",
        sql: "SELECT 1",
        ts: "let x: number = 1",
        yaml: "a: 1",
    };
    const fences = Object.entries(languages).map(([name, text]) => `\`\`\`${name}\n${text}\n\`\`\``);
    const content = `# One\n\n3. three\n   - inner\n4. four\n\n| a | b |\n| - | -: |\n| 1 | 2 |\n\n> *said* **so** ~~not~~\n\nline\nbreak &amp; \`x < 1\`\n\n---\n\n${fences.join("\n")}`;
    const fake = await startFake(nibble, {
        async answer(response) {
            response.write(delta({ content: content.slice(0, 100) }));
            await sleep(200);
            response.end(
                `${delta({ content: content.slice(100) })}data: {"choices": [], "usage": {"completion_tokens": 500}}\n\n${finish()}`,
            );
        },
    });
    t.after(() => fake.close());
    const page = await browser.open(fake.url);
    await say(page, "Markdown, please");
    await ended(page);
    assert.match(await answers(page).locator(".stats").innerText(), /^500 tokens · [\d,.]+ tokens\/s/);
    const shown = answers(page).locator(".markdown");
    for (const selector of [
        "h2.level-1",
        "ol[start='3'] > li > ul > li",
        "td.align-right",
        "blockquote em",
        "blockquote s",
        "br",
        "hr",
    ])
        assert.equal(await shown.locator(selector).count(), 1, selector);
    assert.match(await shown.innerText(), /break & x < 1/);
    for (const name of Object.keys(languages))
        assert.ok(
            await shown
                .getByRole("group", { name: `Code, ${name}`, exact: true })
                .locator("[class^=hljs-]")
                .count(),
            name,
        );
});

test("formulas are drawn; money, shell variables and what is no formula stay as they are", async (t) => {
    const content = [
        "Let $a_1^2$ and \\(b\\) be \\[\\frac{a}{b}\\] here.",
        "$$\nx = \\sqrt{2}\n- 1\n\n+ y\n$$",
        "It costs $5 or $6 in $HOME/$USER, `$x$` and $\\frac{1}$.",
    ].join("\n\n");
    const fake = await startFake(nibble, { answer: async (response) => response.end(delta({ content }) + finish()) });
    t.after(() => fake.close());
    const page = await browser.open(fake.url);
    await say(page, "Formulas, please");
    await ended(page);
    const shown = answers(page).locator(".markdown");
    assert.equal(await shown.locator("math").count(), 4);
    assert.equal(await shown.locator(".display math").count(), 2);
    for (const selector of ["math msubsup", "math mfrac", "math msqrt"])
        assert.equal(await shown.locator(selector).count(), 1);
    assert.match(await shown.innerText(), /costs \$5 or \$6 in \$HOME\/\$USER, \$x\$ and \\frac\{1\}\./);
    assert.deepEqual(page.complaints, []);
});
