// A server of the demo checkpoint for one file of tests. At its end it must stop when it is asked to, and must not have
// answered anything with a status of 500 or more.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { after } from 'node:test';

export const key = 'secret';
export const model = 'demo';
export const checkpoint = fileURLToPath(new URL('../../models/demo', import.meta.url));

// Resolves to its address, and a list that its log's lines are added to.
export async function serve(...options) {
  const child = spawn(process.env.NIBBLE, ['serve', checkpoint, '--host', '127.0.0.1', '--port', '0',
    '--served-model-name', model, '--api-key', key, '--reasoning-parser', 'qwen3', '--tool-call-parser', 'qwen3_xml',
    '--enable-auto-tool-choice', ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
  process.on('exit', () => child.kill('SIGKILL')); // of a file whose tests never began
  const log = [], lines = createInterface({ input: child.stderr });
  const exited = once(child, 'exit');
  const port = await new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      log.push(line);
      const ready = / ready .* port=(\d+)/.exec(line);
      if (ready) resolve(ready[1]);
    });
    exited.then(() => reject(new Error(`the server ended:\n${log.join('\n')}`)));
  });
  after(async () => {
    child.kill('SIGTERM');
    const [status] = await exited;
    assert.equal(status, 0, log.join('\n'));
    assert.deepEqual(log.filter((line) => / status=5/.test(line)), []);
  });
  return { url: `http://127.0.0.1:${port}`, log };
}
