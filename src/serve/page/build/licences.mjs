// The licences of the packages in the bundle: their texts travel with every copy of the page.
import * as fs from "node:fs";
import * as path from "node:path";

// Folders of the packages that the files come from, sorted. Names of inputs are relative to the working folder.
function packageFolders(inputs) {
    const folders = inputs.map((name) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path.resolve(name))?.[1]);
    return [...new Set(folders.filter(Boolean))].sort();
}

// One text for all packages. `inputs`: names of the bundled files.
export function licenceTexts(inputs) {
    const texts = packageFolders(inputs).map((folder) => {
        const { name, version, license } = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
        const file = fs.readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
        if (!file) throw new Error(`${name} has no licence file`);
        return `${name} ${version} (${license})\n\n${fs.readFileSync(path.join(folder, file), "utf8").trim()}`;
    });
    return `This page contains:\n\n${texts.join(`\n\n${"=".repeat(80)}\n\n`)}`;
}
