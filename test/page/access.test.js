// The page for everybody: by keyboard alone, with a screen reader, in light and dark, on a phone; and what it weighs.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { delta, ended, finish, say, startBrowser, startFake, startNibble } from "./support.js";

const PAGE_BYTES_MAX = 300_000; // compressed
const PHONE = { width: 360, height: 740 };
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const EVERYTHING = `# Heading

Text with **strong** words, \`code\`, [a link](https://example.org) and a longwordwithoutanyspaces${"x".repeat(300)}.

- item
- [ ] item

| a | b | c | d | e | f | g | h |
| - | - | - | - | - | - | - | -: |
| cell of text | cell of text | cell of text | cell of text | cell of text | cell of text | cell of text | 1 |

\`\`\`python
# a comment that is so long that it cannot be shown in the width of a phone, whatever font the phone may have
def f(x: int) -> str:
    return "string" + str(x * 1.5)
\`\`\`

> quote

The root $\\sqrt{2}$ is in

$$${"a_1 + b_1 + ".repeat(30)} x$$
`;

let nibble, browser, fake;
before(async () => {
    nibble = await startNibble();
    browser = await startBrowser();
    fake = await startFake(nibble, {
        models: ["a/model-with-a-rather-long-name-NVFP4"],
        async answer(response) {
            const call = { index: 0, id: "1", function: { name: "lookup", arguments: '{"key": 1}' } };
            response.write(delta({ reasoning_content: "Let me think." }) + delta({ content: EVERYTHING }));
            response.end(delta({ tool_calls: [call] }) + finish("tool_calls"));
        },
    });
});
after(async () => {
    await browser?.close();
    fake?.close();
    nibble?.close();
});

const button = (page, name) => page.getByRole("button", { name, exact: true });

async function assertAccessible(page, where) {
    const found =
        await page.evaluate(`${AXE}; axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
        .then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => [id, html, failureSummary])))`);
    assert.deepEqual(found, [], where);
}

async function openFull(options) {
    const page = await browser.open(fake.url, options);
    await say(page, "Show me everything");
    await ended(page);
    return page;
}

for (const colorScheme of ["light", "dark"]) {
    test(`nothing that axe knows of is wrong in ${colorScheme} colours`, async () => {
        const page = await browser.open(fake.url, { colorScheme });
        await assertAccessible(page, "empty");
        await say(page, "Show me everything");
        await ended(page);
        await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
        await assertAccessible(page, "conversation");
        await button(page, "Settings").click();
        await page.getByLabel("Tools (JSON)").fill("[");
        await assertAccessible(page, "settings");
        await page.getByRole("button", { name: /^Live figures/ }).click();
        await page.getByRole("img", { name: /^Generation/ }).waitFor();
        await assertAccessible(page, "figures");
        await page.keyboard.press("Escape");
        await page.getByRole("article", { name: "You" }).hover();
        await button(page, "Edit the message").click();
        await button(page, "Delete: Show me everything").focus();
        await assertAccessible(page, "editor and list");
        await button(page, "Delete: Show me everything").click();
        await button(page, "Undo").waitFor();
        await assertAccessible(page, "notice");
    });

    test(`nothing that axe knows of is wrong on a phone in ${colorScheme} colours`, async () => {
        const page = await openFull({ colorScheme, viewport: PHONE, hasTouch: true, isMobile: true });
        await assertAccessible(page, "conversation");
        for (const name of ["Conversations", "Settings"]) {
            await button(page, name).click();
            await assertAccessible(page, name);
            await page.keyboard.press("Escape");
        }
    });
}

test("the colours are the user's choice, and stay", async () => {
    const page = await browser.open(fake.url, { colorScheme: "light" });
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await ground();
    assert.notEqual(light, dark);
    await button(page, "Colours: auto").click();
    assert.equal(await ground(), light);
    await page.reload();
    assert.equal(await ground(), light);
    await button(page, "Colours: light").click();
    await page.emulateMedia({ colorScheme: "light" });
    assert.equal(await ground(), dark);
});

test("a phone scrolls nothing sideways but code and tables, and shows one thing at a time", async () => {
    const page = await openFull({ viewport: PHONE, hasTouch: true, isMobile: true });
    const overflow = () =>
        page.evaluate(() =>
            [document.documentElement, ...document.querySelectorAll(".talk, .panel, .side, .composer, .bar")]
                .filter((each) => each.scrollWidth > each.clientWidth + 1)
                .map((each) => each.className || each.tagName),
        );
    await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
    assert.deepEqual(await overflow(), []);
    assert.ok(
        await page.evaluate(() =>
            [...document.querySelectorAll(".scroll, pre")].some((each) => each.scrollWidth > each.clientWidth),
        ),
    );
    assert.equal(await button(page, "New conversation").isVisible(), false);
    for (const name of ["Conversations", "Settings", "Live figures"]) {
        await page.getByRole("button", { name: new RegExp(`^${name}`) }).click();
        assert.deepEqual(await overflow(), [], name);
        assert.ok(await page.evaluate(() => document.querySelector(".middle").inert), `${name} leaves the talk alone`);
        await page.locator(".cover").click({ position: { x: name === "Conversations" ? 350 : 5, y: 400 } });
        assert.equal(await page.evaluate(() => document.querySelector(".middle").inert), false);
    }
    await button(page, "Conversations").click();
    await button(page, "New conversation").click();
    assert.equal(await button(page, "New conversation").isVisible(), false);
});

test("on a phone Enter begins a line, and the button sends", async () => {
    const page = await browser.open(fake.url, { viewport: PHONE, hasTouch: true, isMobile: true });
    const message = page.getByRole("textbox", { name: "Message", exact: true });
    await message.tap();
    await page.keyboard.type("one");
    await page.keyboard.press("Enter");
    await page.keyboard.type("two");
    assert.equal(await message.inputValue(), "one\ntwo");
    await button(page, "Send").tap();
    await ended(page);
    assert.equal(await page.getByRole("article", { name: "You" }).locator(".bubble").innerText(), "one\ntwo");
});

test("the page works from another machine without HTTPS, where browsers allow less; copying included", async () => {
    const page = await browser.open(fake.url.replace("127.0.0.1", "other.test"));
    assert.equal(await page.evaluate(() => isSecureContext), false);
    await say(page, "Show me everything");
    await ended(page);
    await button(page, "Copy the code").first().click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    await page.getByRole("textbox", { name: "Message", exact: true }).press("Control+V");
    assert.match(await page.getByRole("textbox", { name: "Message", exact: true }).inputValue(), /def f\(x: int\)/);
    assert.deepEqual(page.complaints, []);
});

test("everything can be done by keyboard, and the focus is never lost", async () => {
    const page = await browser.open(nibble.url);
    const focused = () =>
        page.evaluate(() => {
            const each = document.activeElement;
            return each === document.body
                ? "nothing"
                : each.getAttribute("aria-label") || each.textContent.slice(0, 40) || each.tagName;
        });
    const walkTo = async (name, key = "Tab") => {
        for (let i = 0; i < 60; i++, await page.keyboard.press(key)) if ((await focused()).startsWith(name)) return;
        assert.fail(`${key} does not lead to ${name}`);
    };
    await page.getByText("demo ·").waitFor();
    assert.equal(await focused(), "Message");
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("Tab");
    await walkTo("Skip");
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "Message");
    await page.keyboard.type("What is 12");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("plus 7?");
    await page.keyboard.press("Enter");
    await ended(page);
    assert.equal(await focused(), "Message");

    await walkTo("Answer again", "Shift+Tab");
    await page.keyboard.press("Enter");
    await ended(page);
    assert.match(await focused(), /Stop|Send/);
    await walkTo("Thought", "Shift+Tab");
    await page.keyboard.press("Enter");
    assert.equal(await page.getByLabel("Thoughts").isVisible(), true);

    await walkTo("Edit the message", "Shift+Tab");
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "Edit the message");
    await page.keyboard.press("Escape");
    await page.getByRole("textbox", { name: "Edit the message" }).waitFor({ state: "detached" });
    assert.equal(await focused(), "Edit the message"); // the button

    await walkTo("Settings", "Shift+Tab");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Settings" }).waitFor();
    assert.equal(await focused(), "Settings"); // the heading
    await page.keyboard.press("Tab"); // its close button
    await page.keyboard.press("Tab");
    await page.keyboard.type("You are brief.");
    assert.equal(await page.getByLabel("System prompt").inputValue(), "You are brief.");
    await page.keyboard.press("Escape");
    await page.getByRole("heading", { name: "Settings" }).waitFor({ state: "detached" });
    assert.equal(await focused(), "Settings"); // the button

    await walkTo("Delete", "Shift+Tab");
    await page.keyboard.press("Enter");
    await page.getByText("What shall we talk about?").waitFor();
    assert.notEqual(await focused(), "nothing");
});

test("a screen reader is told when an answer begins and what it says", async () => {
    const page = await openFull();
    const status = page.getByRole("status");
    assert.match(await status.innerText(), /The answer is complete\. The model calls lookup\./);
    assert.match(await status.innerText(), /Text with/);
});

test("the page is small, and its policy names exactly the script and the style that it has", async () => {
    const head = await fetch(nibble.url, { method: "HEAD" });
    assert.ok(
        Number(head.headers.get("content-length")) < PAGE_BYTES_MAX,
        `${head.headers.get("content-length")} bytes`,
    );
    assert.equal(head.headers.get("content-encoding"), "gzip");
    const html = await (await fetch(nibble.url)).text();
    assert.match(html, /This page contains:[^]*markdown-it [\d.]+ \(MIT\)/);
    const policy = head.headers.get("content-security-policy");
    for (const [tag, name] of [
        ["script", "script-src"],
        ["style", "style-src"],
    ]) {
        const parts = [...html.matchAll(new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`, "g"))];
        assert.equal(parts.length, 1);
        assert.ok(
            policy.includes(`${name} 'sha256-${createHash("sha256").update(parts[0][1]).digest("base64")}';`),
            name,
        );
    }
});

test("the browser itself refuses markup from text, scripts from elsewhere and requests to others", async () => {
    const page = await browser.open(nibble.url);
    const tried = await page.evaluate(async () => {
        const attempt = async (run) => {
            try {
                await run();
                return "done";
            } catch {
                return "refused";
            }
        };
        const element = (name, fields) =>
            new Promise((resolve, reject) => {
                const made = Object.assign(document.createElement(name), fields, { onload: resolve, onerror: reject });
                document.body.append(made);
            });
        return Promise.all([
            attempt(() => (document.getElementById("app").innerHTML = "<b>x</b>")),
            attempt(() => (document.createElement("script").text = "1")),
            attempt(() => fetch("http://127.0.0.1:9/")),
            attempt(() => element("img", { src: "http://127.0.0.1:9/x.png" })),
        ]);
    });
    assert.deepEqual(tried, ["refused", "refused", "refused", "refused"]);
    assert.ok(page.complaints.length > 0);
});
