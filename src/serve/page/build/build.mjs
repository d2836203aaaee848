// Builds the page: src/serve/page becomes one HTML document with script and style inside, and a C file with its bytes.
// usage: node build.mjs OUT.c PACKAGES [ABSENT.c]
// npm's packages go to PACKAGES/<hash of the lock file>. If they cannot be had, OUT.c is a copy of ABSENT.c.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { licenceTexts } from "./licences.mjs";

const source = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const [out, packages, absent] = process.argv.slice(2).map((name) => path.resolve(name));
const read = (name) => fs.readFileSync(path.join(source, name), "utf8");
const sha256 = (text, encoding) => createHash("sha256").update(text).digest(encoding);

const NPM_OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"];

// Fills a folder with node_modules under another name and then renames it, so that builds may run side by side.
function install(folder, names) {
    fs.mkdirSync(packages, { recursive: true });
    const fresh = fs.mkdtempSync(path.join(packages, "fresh-"));
    try {
        for (const name of names) fs.copyFileSync(path.join(source, name), path.join(fresh, name));
        execFileSync("npm", ["ci", ...NPM_OPTIONS], {
            cwd: fresh,
            stdio: ["ignore", "ignore", "pipe"],
            timeout: 180_000,
        });
        fs.renameSync(fresh, folder);
    } finally {
        fs.rmSync(fresh, { recursive: true, force: true });
    }
}

// The folder with node_modules, or null if it cannot be had and that is allowed.
function packageFolder() {
    const names = ["package.json", "package-lock.json"];
    const folder = path.join(packages, sha256(names.map(read).join("\n"), "hex").slice(0, 16));
    try {
        if (!fs.existsSync(folder)) install(folder, names);
    } catch (error) {
        if (fs.existsSync(folder)) return folder; // another build was first
        if (!absent) throw error;
        const lines = String(error.stderr || error.message).split("\n");
        const reason = lines.find((line) => /^npm (error|ERR!)/.test(line)) ?? lines[0]; // warnings come first
        console.error(`The page is left out: ${reason}`);
        return null;
    }
    return folder;
}

function bundle(folder, entry) {
    const esbuild = createRequire(path.join(folder, "package.json"))("esbuild");
    const result = esbuild.buildSync({
        entryPoints: [path.join(source, entry)],
        nodePaths: [path.join(folder, "node_modules")],
        bundle: true,
        minify: true,
        write: false,
        format: "iife",
        target: ["es2022"],
        charset: "utf8",
        jsx: "automatic",
        jsxImportSource: "preact",
        legalComments: "none",
        logLevel: "warning",
        metafile: true,
    });
    return { text: result.outputFiles[0].text.trim(), inputs: Object.keys(result.metafile.inputs) };
}

// Nothing but "--" has a meaning in a comment of HTML.
const comment = (text) => `<!--\n${text.replace(/-(?=-)/g, "- ")}\n-->`;

// Nothing but "</script" and "<!--" has a meaning in a script of HTML; where these can stand, in strings and regular
// expressions, \x3c means the same as "<".
const inScript = (text) => text.replaceAll("</script", "\\x3c/script").replaceAll("<!--", "\\x3c!--");

const bytes = (name, data) => {
    const rows = [];
    for (let i = 0; i < data.length; i += 32) rows.push(data.subarray(i, i + 32).join(","));
    return `static const unsigned char ${name}[] = {\n${rows.join(",\n")},\n};\n`;
};

function build(folder) {
    const { text, inputs } = bundle(folder, "main.jsx");
    const script = inScript(text);
    const style = bundle(folder, "style.css").text;
    const parts = {
        "<!-- style -->": `<style>${style}</style>`,
        "<!-- script -->": `<script type="module">${script}</script>`,
        "<!-- licences -->": comment(licenceTexts(inputs)),
    };
    const html = Buffer.from(read("index.html").replace(/<!-- \w+ -->/g, (mark) => parts[mark]));
    const gzip = gzipSync(html, { level: 9 });
    const hash = (content) => `"'sha256-${sha256(content, "base64")}'"`;
    return `// Made from src/serve/page by build.mjs.
#include "serve/page.h"
${bytes("html", html)}${bytes("gzip", gzip)}
const nb_page nb_page_built = {
    .html = html,
    .n_html = sizeof html,
    .gzip = gzip,
    .n_gzip = sizeof gzip,
    .etag = "${sha256(html, "hex").slice(0, 24)}",
    .script_hash = ${hash(script)},
    .style_hash = ${hash(style)},
};
`;
}

const folder = packageFolder();
if (folder) fs.writeFileSync(out, build(folder));
else fs.copyFileSync(absent, out);
