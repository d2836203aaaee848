// @qwen-code/qwen-code as an agent, over OpenAI's API and over Anthropic's: it does a task with a tool that the demo model
// was trained on, and follows a script with its own file tools. The model is too small for an agent's prompt, so a chat
// template shows it the last task and the one tool out of all that the agent sends. What goes over HTTP is whole: the
// agent's prompt and tools, the streams, the calls and their results.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
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
  openai: {
    path: '/v1/chat/completions',
    env: (base) => ({ OPENAI_BASE_URL: `${base}/v1`, OPENAI_API_KEY: key, OPENAI_MODEL: model }),
    // The call that the model must make next, of which only these arguments are left to it; or none.
    force(body, name, schema) {
      for (const tool of body.tools) if (tool.function.name === name) tool.function.parameters = schema;
      body.tool_choice = name ? { type: 'function', function: { name } } : 'none';
    },
    results: (body) => body.messages.filter((message) => message.role === 'tool').length,
  },
  anthropic: {
    path: '/v1/messages',
    env: (base) => ({ ANTHROPIC_BASE_URL: base, ANTHROPIC_API_KEY: key, ANTHROPIC_MODEL: model }),
    force(body, name, schema) {
      for (const tool of body.tools) if (tool.name === name) tool.input_schema = schema;
      body.tool_choice = name ? { type: 'tool', name } : { type: 'none' };
      body.thinking = { type: 'disabled' };
    },
    results: (body) => body.messages.flatMap(({ content }) => content).filter((block) => block.type === 'tool_result').length,
  },
};

// A folder with files of one line each.
function folderOf(...files) {
  const folder = mkdtempSync(join(work, 'folder-'));
  for (const name of files) writeFileSync(join(folder, name), 'text\n');
  return folder;
}

// Runs the agent in a folder; resolves to its events. `base` is another address than the server's own.
async function run(way, prompt, folder, base = url) {
  const home = mkdtempSync(join(work, 'home-'));
  const settings = {
    tools: { discoveryCommand: here('file_tools'), callCommand: here('file_tools') },
    model: { generationConfig: { samplingParams: { temperature: 0 } } },
    privacy: { usageStatisticsEnabled: false },
    general: { disableAutoUpdate: true },
  };
  mkdirSync(join(home, '.qwen'));
  writeFileSync(join(home, '.qwen/settings.json'), JSON.stringify(settings));
  const { stdout } = await promisify(execFile)(process.execPath,
    [here('node_modules/@qwen-code/qwen-code/cli.js'), '--yolo', '--auth-type', way, '-o', 'json', '-p', prompt],
    { cwd: folder, timeout: 120000, env: { PATH: process.env.PATH, HOME: home, ...ways[way].env(base) } });
  return JSON.parse(stdout);
}

const blocks = (events, type) => events.flatMap((event) => event.message?.content ?? []).filter((block) => block.type === type);

// A server in front of the server that makes the model follow a script: it forces the next call and its arguments, and
// behind the last one the answer, since what this model would say of a folder's random name might never end.
async function follow(way, script) {
  const { force, results } = ways[way];
  const proxy = createServer(async (request, response) => {
    const body = JSON.parse(await text(request)), step = script[results(body)];
    const [name, input] = step ?? [];
    if (!step) Object.assign(body, { chat_template_kwargs: { enable_thinking: false }, structured_outputs: { choice: ['It is tidy.'] } });
    force(body, name, step && {
      type: 'object',
      properties: Object.fromEntries(Object.entries(input).map(([key, value]) => [key, { const: value }])),
      required: Object.keys(input),
      additionalProperties: false,
    });
    const { host, 'content-length': _, ...headers } = request.headers;
    const answer = await fetch(url + request.url, { method: 'POST', headers, body: JSON.stringify(body) });
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') });
    for await (const piece of answer.body) response.write(piece);
    response.end();
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  return { base: `http://127.0.0.1:${proxy.address().port}`, stop: () => proxy.close() };
}

for (const [way, { path }] of Object.entries(ways)) {
  test(`over ${path} the agent's own file tools follow a script`, async () => {
    const before = log.length, folder = folderOf('bago.log'), at = (name) => join(folder, name);
    const script = [
      ['list_directory', { path: folder }],
      ['read_file', { absolute_path: at('bago.log') }],
      ['write_file', { file_path: at('kipa.txt'), content: 'A line of words.' }],
      ['edit', { file_path: at('kipa.txt'), old_string: 'words', new_string: 'letters' }],
      ['run_shell_command', { command: 'rm bago.log', is_background: false }],
    ];
    const { base, stop } = await follow(way, script);
    const events = await run(way, 'Tidy up.', folder, base).finally(stop);
    assert.deepEqual(blocks(events, 'tool_use').map((use) => [use.name, use.input]), script);
    assert.deepEqual(blocks(events, 'tool_result').filter((entry) => entry.is_error), []);
    assert.deepEqual(readdirSync(folder), ['kipa.txt']);
    assert.equal(readFileSync(at('kipa.txt'), 'utf8'), 'A line of letters.');
    assert.equal(events.at(-1).subtype, 'success');
    assert.equal(events.at(-1).result, 'It is tidy.');
    const exchanges = log.slice(before).filter((line) => line.includes(' method='));
    for (const line of exchanges) assert.match(line, new RegExp(`path=${path} status=200`));
  });

  test(`over ${path} the agent deletes the files it is told to, and says so`, async () => {
    const before = log.length;
    const folder = folderOf('bago.log', 'kipa.txt', 'zeta.csv');
    const events = await run(way, 'Delete the file bago.log. After that: Delete the file kipa.txt.', folder);
    const result = events.at(-1), offered = events[0].tools;
    assert.ok(offered.includes('write_file') && offered.includes('run_shell_command')); // the agent's own are sent, too
    assert.deepEqual(blocks(events, 'tool_use').map((use) => [use.name, use.input]),
      [['delete_file', { name: 'bago.log' }], ['delete_file', { name: 'kipa.txt' }]]);
    assert.deepEqual(blocks(events, 'tool_result').map((entry) => entry.is_error), [false, false]);
    assert.deepEqual(readdirSync(folder), ['zeta.csv']);
    assert.equal(result.subtype, 'success');
    assert.match(result.result, /was deleted/);
    assert.equal(result.stats.models[model].api.totalErrors, 0);
    const exchanges = log.slice(before).filter((line) => line.includes(' method='));
    assert.equal(exchanges.length, 2); // the calls, the answer: nothing was tried again
    for (const line of exchanges) assert.match(line, new RegExp(`path=${path} status=200`));
  });
}
