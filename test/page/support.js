// What the tests of the page share: a browser, the server under test, and a server that answers as a test wishes.
import { spawn } from "node:child_process";
import * as http from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));
const WAIT_MS = 15_000;
export const PARSERS = ["--reasoning-parser", "qwen3", "--tool-call-parser", "qwen3_xml", "--enable-auto-tool-choice"];

// `nibble serve` of the demo on a free port: {url, close}. The rest of the log is read and dropped.
export async function startNibble(...options) {
    const flags = ["--host", "127.0.0.1", "--port", "0", "--served-model-name", "demo"];
    const child = spawn(process.env.NIBBLE, ["serve", DEMO, ...flags, ...options], {
        stdio: ["ignore", "ignore", "pipe"],
    });
    const port = await new Promise((resolve, reject) => {
        let log = "";
        child.stderr.on("data", (text) => {
            log += text;
            const ready = /ready .*port=(\d+)/.exec(log);
            if (ready) resolve(ready[1]);
        });
        child.once("exit", () => reject(new Error(`nibble serve ended:\n${log}`)));
    });
    return { url: `http://127.0.0.1:${port}`, close: () => child.kill("SIGKILL") };
}

// A browser and a function that opens a page in a fresh profile, with the settings of earlier visits if any are given;
// other.test is a name of this machine. Every page remembers where it sent requests, what it
// wrote to the console and what it threw.
export async function startBrowser() {
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM,
        args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP other.test 127.0.0.1"],
    });
    const open = async (url, { viewport = { width: 1280, height: 800 }, settings, ...options } = {}) => {
        const kept = [{ name: "nibble.settings", value: JSON.stringify(settings) }];
        const storageState = settings && { origins: [{ origin: url, localStorage: kept }] };
        const context = await browser.newContext({ viewport, storageState, ...options });
        const page = await context.newPage();
        page.setDefaultTimeout(WAIT_MS);
        page.requested = [];
        page.complaints = [];
        page.on("request", (request) => page.requested.push(request.url()));
        page.on("pageerror", (error) => page.complaints.push(String(error)));
        page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
        page.on("dialog", (dialog) => {
            page.complaints.push(`dialog: ${dialog.message()}`);
            dialog.dismiss();
        });
        await page.goto(url);
        return page;
    };
    return { open, close: () => browser.close() };
}

export async function say(page, text) {
    await page.getByRole("textbox", { name: "Message", exact: true }).fill(text);
    await page.getByRole("button", { name: "Send", exact: true }).click();
    await page.getByRole("article", { name: "Answer" }).last().waitFor();
}

// Resolves when the answer has ended.
export const ended = (page) => page.getByRole("button", { name: "Send", exact: true }).waitFor();

// An OpenAI server that shows nibble's page. `answer(response, body)` writes the answer of a chat request and may be
// replaced later; `models`, `metrics`: what the other paths give.
export async function startFake(nibble, { answer, models = ["fake"], metrics = "" }) {
    const fake = { answer };
    const page = await fetch(nibble.url);
    const html = await page.text();
    const server = http.createServer(async (request, response) => {
        let body = "";
        for await (const piece of request) body += piece;
        if (request.url === "/v1/chat/completions") {
            response.writeHead(200, { "Content-Type": "text/event-stream" });
            await fake.answer(response, JSON.parse(body));
        } else if (request.url === "/v1/models") {
            response.end(JSON.stringify({ data: models.map((id) => ({ id, max_model_len: 4096 })) }));
        } else if (request.url === "/version") {
            response.end('{"version": "0"}');
        } else if (request.url === "/metrics") {
            response.end(metrics);
        } else {
            response.writeHead(200, {
                "Content-Type": "text/html; charset=utf-8",
                "Content-Security-Policy": page.headers.get("content-security-policy"),
            });
            response.end(html);
        }
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    fake.url = `http://127.0.0.1:${server.address().port}`;
    fake.close = () => {
        server.closeAllConnections();
        server.close();
    };
    return fake;
}

const event = (value) => `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`;
export const delta = (fields) => event({ choices: [{ index: 0, delta: fields, finish_reason: null }] });
export const finish = (reason = "stop") =>
    event({ choices: [{ index: 0, delta: {}, finish_reason: reason }] }) + event("[DONE]");
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
