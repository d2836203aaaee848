#!/usr/bin/env node
// Takes the pictures of docs/page.md: docs/images/page-*.png. The conversation is scripted, because the demo's model
// writes no Markdown; the live figures are those of the demo under load. Needs the packages of test/page (test_page
// installs them) and Debian's chromium, pngquant, fonts-inter and fonts-jetbrains-mono.
// usage: NIBBLE=build/release/nibble tools/page_images.mjs [SECONDS of load]
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

process.env.CHROMIUM ??= "/usr/bin/chromium";
process.env.FONTCONFIG_FILE = fontConfiguration();
const { delta, ended, finish, say, sleep, startBrowser, startFake, startNibble } =
    await import("../test/page/support.js");
const images = path.resolve(import.meta.dirname, "../docs/images");

// system-ui and monospace as on a desktop with good fonts.
function fontConfiguration() {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "page-images-")), "fonts.conf");
    const prefer = (family, font) =>
        `<alias binding="strong"><family>${family}</family><prefer><family>${font}</family></prefer></alias>`;
    const pairs = [
        ["system-ui", "Inter"],
        ["sans-serif", "Inter"],
        ["ui-monospace", "JetBrains Mono"],
        ["monospace", "JetBrains Mono"],
    ];
    fs.writeFileSync(
        file,
        `<fontconfig><include>/etc/fonts/fonts.conf</include>${pairs.map((each) => prefer(...each)).join("")}</fontconfig>`,
    );
    return file;
}

const THOUGHTS =
    "The user wants to know how NVFP4 stores weights. I should explain the two scales, then show how one block is read.";
const ANSWER = `An NVFP4 weight takes **4.5 bits**: a four-bit number, and its share of a scale that 16 neighbours have in common.

| part | format | for how many weights |
| --- | --- | --: |
| value | E2M1: ±0, 0.5, 1, 1.5, 2, 3, 4, 6 | 1 |
| block scale | E4M3 | 16 |
| tensor scale | float32 | all |

To read one block, multiply the three:

\`\`\`python
def dequantize(codes, block_scale, tensor_scale):
    # the scale is read once for all 16 codes
    scale = e4m3(block_scale) * tensor_scale
    return [E2M1[code] * scale for code in codes]
\`\`\`

A weight is $w = q \\cdot s_{\\text{block}} \\cdot s_{\\text{tensor}}$; the product $q \\cdot s_{\\text{block}}$ is exact in \`bfloat16\`.`;

async function answer(response) {
    const pieces = (text, key) => text.match(/[^]{1,12}/g).map((each) => delta({ [key]: each }));
    for (const piece of [...pieces(THOUGHTS, "reasoning_content"), ...pieces(ANSWER, "content")]) {
        response.write(piece);
        await sleep(6);
    }
    response.end(finish());
}

const TITLES = ["Plan a week in Lisbon", "Why does my build relink everything?", "Names for a sailing boat"];

async function converse(fake, options) {
    const page = await browser.open(fake.url, { deviceScaleFactor: 1.5, reducedMotion: "reduce", ...options });
    for (const title of TITLES) {
        await say(page, title);
        await ended(page);
        await page.evaluate(() => (location.hash = "new"));
        await page.reload();
    }
    await say(page, "How does NVFP4 store weights?");
    await ended(page);
    await page.getByRole("region", { name: "Messages" }).evaluate((each) => each.scrollTo(0, 0));
    return page;
}

const take = async (page, name) => {
    await sleep(300);
    const file = path.join(images, `page-${name}.png`);
    await page.screenshot({ path: file });
    execFileSync("pngquant", ["--force", "--ext", ".png", file]);
    await page.context().close();
};

const RULES = "You are a calculator. Answer with a number. Say nothing else, and do not explain what you did. ".repeat(
    6,
);

// Eight clients that ask and ask, for as long as the plots need to fill.
async function load(url, seconds) {
    const until = Date.now() + 1000 * seconds;
    const ask = async (i) => {
        for (let n = 0; Date.now() < until; n++) {
            const messages = [
                { role: "system", content: RULES },
                { role: "user", content: `What is ${n % 3} plus ${i}?` },
            ];
            const body = JSON.stringify({ messages, max_tokens: 100 + 40 * i, ignore_eos: true });
            await (await fetch(`${url}/v1/chat/completions`, { method: "POST", body })).text();
            await sleep(1500 * Math.random());
        }
    };
    await Promise.all(Array.from({ length: 8 }, (_, i) => ask(i)));
}

fs.mkdirSync(images, { recursive: true });
const nibble = await startNibble("--max-num-seqs", "6", "--max-model-len", "2048", "--kv-cache-memory-bytes", "4M");
const browser = await startBrowser();
const fake = await startFake(nibble, { models: ["your-model"], answer });

await take(await converse(fake, { colorScheme: "light" }), "light");
await take(
    await converse(fake, {
        colorScheme: "dark",
        viewport: { width: 390, height: 800 },
        hasTouch: true,
        isMobile: true,
    }),
    "phone",
);

const page = await browser.open(nibble.url, { colorScheme: "dark", deviceScaleFactor: 1.5 });
await page.getByRole("button", { name: /^Live figures/ }).click();
const seconds = Number(process.argv[2] ?? 120);
const busy = load(nibble.url, seconds);
await sleep(5000);
await say(page, "What is 12 plus 7?");
await ended(page);
await sleep(1000 * (seconds - 8));
await take(page, "figures");

await busy;
fake.close();
await browser.close();
nibble.close();
