// Whatever a model or a server sends is text: no script runs, nothing is loaded, and the page stays usable.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { delta, ended, finish, say, sleep, startBrowser, startFake, startNibble } from "./support.js";

let nibble, browser, fake, page;
before(async () => {
    nibble = await startNibble();
    browser = await startBrowser();
    fake = await startFake(nibble, {});
    page = await browser.open(fake.url);
});
after(async () => {
    await browser?.close();
    fake?.close();
    nibble?.close();
});

const answerOf = () => page.getByRole("article", { name: "Answer" });

// Says something in a new conversation; the server sends `pieces`, and then ends the connection.
async function converse(text, pieces) {
    page.requested.length = page.complaints.length = 0;
    fake.answer = async (response) => {
        for (const piece of pieces) {
            response.write(piece);
            await sleep(60); // long enough to be shown
        }
        response.end();
    };
    await page.getByRole("button", { name: "New conversation" }).click();
    await say(page, text);
    await ended(page);
}

const RUN = "window.hacked = 1";
const ELSEWHERE = "http://127.0.0.1:9/x";

const TEXTS = {
    HTML: `<img src=x onerror="${RUN}"><script>${RUN}</script><svg onload="${RUN}"><iframe srcdoc="<script>parent.${RUN}</script>">
<style>@import url(${ELSEWHERE}.css); body { display: none }</style><link rel=stylesheet href=${ELSEWHERE}.css><base href=${ELSEWHERE}>
<form action=${ELSEWHERE}><input name=q><button>Go</button></form><a href="javascript:${RUN}">a</a><math><mtext></form><form><mglyph><style></math><img src onerror=${RUN}>

<div>

<script>${RUN}</script></div>`,
    links: `[a](javascript:${RUN}) [b](JaVaScRiPt:${RUN}) [c](java\tscript:${RUN}) [d](&#106;avascript:${RUN}) <javascript:${RUN}>
[e](data:text/html,<script>${RUN}</script>) [f](vbscript:x) [g](file:///etc/passwd) [h](blob:x) [i](//evil.example/) [j](/v1/models) [k][ref]
[l](https://example.org "title\\" onmouseover=\\"${RUN}") [m](<https://example.org/"onclick="${RUN}>) javascript:${RUN} https://example.org/<script>

[ref]: javascript:${RUN}`,
    pictures: `![a](${ELSEWHERE}.png) ![b](data:image/svg+xml,<svg/onload=${RUN}>) ![c](x "y") [![d](${ELSEWHERE}.png)](javascript:${RUN})`,
    code: '```"><script>window.hacked = 1</script>\nx\n```\n```html\n<script>window.hacked = 1</script>\n```\n`<b>` ```js\n```__proto__\nx\n```\n```constructor\nx\n```',
    "a fence without an end":
        "```python\n" + "def f(x): return '</code></pre><script>window.hacked = 1</script>'\n".repeat(500),
    "a huge table": `|${" a |".repeat(200)}\n|${" - |".repeat(200)}\n${`|${" <b>x</b> |".repeat(200)}\n`.repeat(100)}`,
    "deep nesting":
        "> ".repeat(3000) +
        "x\n\n" +
        "- ".repeat(3000) +
        "x\n\n" +
        "[".repeat(20000) +
        "\n\n" +
        "*a **b ".repeat(5000) +
        "\n\n" +
        "`".repeat(9999),
    "odd characters":
        "\u202eabc\u0000\u0007\ud800 \ufeff zalgo" + "\u0301".repeat(5000) + " " + "w".repeat(50000) + "\u2028\u2029",
    formulas: `$\\href{javascript:${RUN}}{x}$ $\\url{${ELSEWHERE}}$ $\\includegraphics{${ELSEWHERE}.png}$ $\\text{<img src=x onerror=${RUN}>}$
$\\class{x" onload="${RUN}}{y}$ $\\style{background:url(${ELSEWHERE})}{z}$ $\\color{red;background:url(${ELSEWHERE})}x$ $\\ref{a}$
$\\def\\a{\\a\\a}\\a$ $\\rule{1e9em}{1e9em}$ $\\__proto__$ $\\frac{1}$ ${"$"}${"{".repeat(3000)}x${"}".repeat(3000)}$

$$${"\\frac{1}{1+".repeat(500)}1${"}".repeat(500)}$$

${"\\[ ".repeat(5000)}

${"$a ".repeat(5000)}`,
    "a very long text": "word ".repeat(200000),
};

// Nothing that could act is in the page, and nobody else was asked for anything.
async function assertHarmless() {
    const found = await page.evaluate(() => ({
        hacked: window.hacked,
        elements: [
            ...document.querySelectorAll(
                "#app :is(script, style, link, iframe, object, embed, img, form:not(dialog form), base, meta, math:not(.formula *))",
            ),
        ].map((each) => each.outerHTML),
        handlers: [...document.querySelectorAll("#app *")]
            .flatMap((each) => [...each.attributes])
            .filter(({ name }) => /^on|^srcdoc$|^formaction$/.test(name)).length,
        links: [...document.querySelectorAll("#app a")]
            .map((each) => each.href)
            .filter(
                (href) =>
                    !/^(https?|mailto):/.test(href) ||
                    (new URL(href).origin === location.origin && !href.endsWith("#message")),
            ),
    }));
    assert.deepEqual(found, { hacked: undefined, elements: [], handlers: 0, links: [] });
    assert.deepEqual(
        page.requested.filter((each) => !each.startsWith(`${fake.url}/`) && !each.startsWith("data:image/svg")),
        [],
    );
    assert.deepEqual(page.complaints, []);
    await page.getByRole("textbox", { name: "Message", exact: true }).fill("still here");
}

const quarters = (text) => [0, 1, 2, 3].map((i) => text.slice((i * text.length) >> 2, ((i + 1) * text.length) >> 2));

for (const [name, text] of Object.entries(TEXTS)) {
    test(`${name} in an answer, its thoughts and its calls: all stays text`, async () => {
        const call = { name: text.slice(0, 300), arguments: text.slice(0, 20000) };
        await converse(text.slice(0, 2000), [
            delta({ reasoning_content: text.slice(0, 20000) }),
            ...quarters(text).map((content) => delta({ content })),
            delta({ tool_calls: [{ index: 0, id: "1", function: call }] }) + finish("tool_calls"),
        ]);
        await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
        await sleep(100);
        await assertHarmless();
    });
}

test("links lead to the web only, in a tab of their own that knows nothing of this one", async () => {
    await converse("links", [delta({ content: `${TEXTS.links}\n\n${TEXTS.pictures}` }) + finish()]);
    const links = page.locator(".markdown a");
    assert.ok((await links.count()) > 1);
    for (const link of await links.all()) {
        assert.equal(await link.getAttribute("target"), "_blank");
        assert.match(await link.getAttribute("rel"), /noopener noreferrer/);
    }
});

test("a hostile server is only text as well", async (t) => {
    const html = `<img src=x onerror="${RUN}">`;
    const other = await startFake(nibble, {
        models: [html, "two", 5, null, {}],
        metrics: `vllm:num_requests_running{a="${html}"} NaN\nvllm:generation_tokens_total Inf\n${"{".repeat(100000)}\nvllm:kv_cache_usage_perc -1e309\n`,
        async answer(response) {
            response.end(`data: ${JSON.stringify({ error: { message: html } })}\n\n`);
        },
    });
    t.after(() => other.close());
    const [earlier, earlierPage] = [fake, page];
    [fake, page] = [other, await browser.open(other.url)];
    t.after(() => ([fake, page] = [earlier, earlierPage]));
    await page.getByRole("button", { name: /^Live figures/ }).click();
    await say(page, html);
    await answerOf().getByText(html).waitFor();
    await sleep(2200); // two readings of /metrics
    await assertHarmless();
});

const BROKEN = {
    "bytes that are not UTF-8": [
        delta({ content: "before " }),
        Buffer.from([0x64, 0xc3, 0x28, 0xff, 0xfe, 0x0a, 0x0a]),
        delta({ content: "after" }),
        finish(),
    ],
    "a character cut in two": [
        Buffer.from(delta({ content: "ä" })).subarray(0, -25),
        Buffer.from(delta({ content: "ä" })).subarray(-25),
        finish(),
    ],
    "not JSON": ['data: {"choices": [\n\n'],
    null: ["data: null\n\n"],
    "a connection that ends early": [delta({ content: "half" })],
    "nothing at all": [],
    "an event without an end": ["data: " + "x".repeat(5 << 20)],
    "fields of the wrong type": [
        'data: {"choices": "no"}\n\ndata: {"choices": [{"delta": {"content": 5, "tool_calls": {"a": 1}}}], "usage": 7}\n\n',
        'data: {"usage": {"completion_tokens": {}, "prompt_tokens": "x", "prompt_tokens_details": {"cached_tokens": 5}}}\n\n',
        'data: {"choices": [{"delta": {}, "finish_reason": "constructor"}], "usage": {"completion_tokens": 5}}\n\n',
        delta({ content: "after" }),
        finish(),
    ],
    "calls by the thousand": [
        delta({ tool_calls: Array.from({ length: 1000 }, (_, index) => ({ index, function: { name: "f" } })) }),
        finish(),
    ],
};
for (const [name, pieces] of Object.entries(BROKEN)) {
    test(`a stream with ${name} ends, and the page goes on`, async () => {
        await converse("hello", pieces);
        const alerts = answerOf().getByRole("alert");
        if (String(pieces).includes("[DONE]")) assert.equal(await alerts.count(), 0);
        else assert.ok((await alerts.innerText()).length > 10);
        if (String(pieces).includes("after")) assert.match(await answerOf().innerText(), /after/);
        await assertHarmless();
    });
}
