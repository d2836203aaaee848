// @qwen-code/qwen-code as an agent with file tools, over OpenAI's API and over Anthropic's. The demo model is too small
// for an agent's prompt: a chat template shows it the last task and the tool that it was trained on, out of all that
// the agent sends. What goes over HTTP is whole: the agent's own prompt and tools, the streams, the calls and
// their results.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { checkpoint, key, model, serve } from './server.js';

const work = mkdtempSync(join(tmpdir(), 'agent-'));
after(() => rmSync(work, { recursive: true }));

const template = join(work, 'agent.jinja');
writeFileSync(template, `
{%- set task = namespace(at=0) -%}
{%- for m in messages -%}{%- if m.role == 'user' -%}{%- set task.at = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- set messages = messages[task.at:] -%}
{%- set tools = tools | selectattr('function.name', 'equalto', 'delete_file') | list if tools else tools -%}
${readFileSync(join(checkpoint, 'chat_template.jinja'), 'utf8')}`);
const { url, log } = await serve('--chat-template', template);

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const ways = {
  openai: { path: '/v1/chat/completions', env: { OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: key, OPENAI_MODEL: model } },
  anthropic: { path: '/v1/messages', env: { ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: key, ANTHROPIC_MODEL: model } },
};

// Runs the agent in a folder with these files; resolves to its events and the files that are left.
async function run(way, prompt, files) {
  const home = mkdtempSync(join(work, 'home-')), folder = mkdtempSync(join(work, 'folder-'));
  const settings = {
    tools: { discoveryCommand: here('file_tools'), callCommand: here('file_tools') },
    model: { generationConfig: { samplingParams: { temperature: 0 } } },
    privacy: { usageStatisticsEnabled: false },
    general: { disableAutoUpdate: true },
  };
  mkdirSync(join(home, '.qwen'));
  writeFileSync(join(home, '.qwen/settings.json'), JSON.stringify(settings));
  for (const name of files) writeFileSync(join(folder, name), 'text\n');
  const { stdout } = await promisify(execFile)(process.execPath,
    [here('node_modules/@qwen-code/qwen-code/cli.js'), '--yolo', '--auth-type', way, '-o', 'json', '-p', prompt],
    { cwd: folder, timeout: 120000, env: { PATH: process.env.PATH, HOME: home, ...ways[way].env } });
  return { events: JSON.parse(stdout), left: readdirSync(folder) };
}

const blocks = (events, type) => events.flatMap((event) => event.message?.content ?? []).filter((block) => block.type === type);

for (const [way, { path }] of Object.entries(ways)) {
  test(`over ${path} the agent deletes the files it is told to, and says so`, async () => {
    const before = log.length;
    const { events, left } = await run(way, 'Delete the file bago.log. After that: Delete the file kipa.txt.',
      ['bago.log', 'kipa.txt', 'zeta.csv']);
    const result = events.at(-1), offered = events[0].tools;
    assert.ok(offered.includes('write_file') && offered.includes('run_shell_command')); // the agent's own are sent, too
    assert.deepEqual(blocks(events, 'tool_use').map((use) => [use.name, use.input]),
      [['delete_file', { name: 'bago.log' }], ['delete_file', { name: 'kipa.txt' }]]);
    assert.deepEqual(blocks(events, 'tool_result').map((entry) => entry.is_error), [false, false]);
    assert.deepEqual(left, ['zeta.csv']);
    assert.equal(result.subtype, 'success');
    assert.match(result.result, /was deleted/);
    assert.equal(result.stats.models[model].api.totalErrors, 0);
    const exchanges = log.slice(before).filter((line) => line.includes(' method='));
    assert.equal(exchanges.length, 2); // the calls, the answer: nothing was tried again
    for (const line of exchanges) assert.match(line, new RegExp(`path=${path} status=200`));
  });
}
