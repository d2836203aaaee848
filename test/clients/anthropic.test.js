// The official @anthropic-ai/sdk.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { answer, booking, question, sum } from './demo.js';
import { key, model, serve } from './server.js';

const { url } = await serve();
const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const ask = { model, max_tokens: 300, messages: [{ role: 'user', content: question }], temperature: 0 };
const thinking = { type: 'enabled', budget_tokens: 1024 };
const { name, description } = booking;
const book = {
  ...ask,
  messages: [{ role: 'user', content: booking.prompt }],
  thinking,
  tools: [{ name, description, input_schema: booking.parameters }],
};

test('a message is text; with thinking asked for it begins with thinking', async () => {
  const plain = await client.messages.create(ask);
  assert.match(plain.content[0].text, answer);
  assert.equal(plain.stop_reason, 'end_turn');
  assert.ok(plain._request_id);
  const thought = await client.messages.create({ ...ask, thinking });
  assert.deepEqual(thought.content.map((block) => block.type), ['thinking', 'text']);
});

test('a stream adds up to the same message', async () => {
  const whole = await client.messages.create({ ...ask, thinking });
  let text = '', thought = '';
  const stream = client.messages.stream({ ...ask, thinking });
  stream.on('text', (piece) => (text += piece)).on('thinking', (piece) => (thought += piece));
  const final = await stream.finalMessage();
  assert.equal(thought, whole.content[0].thinking);
  assert.equal(text, whole.content[1].text);
  assert.equal(final.content[1].text, text);
  assert.ok(final.content[0].signature);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
});

test('raw events come in the order of the protocol', async () => {
  const types = [];
  for await (const event of await client.messages.create({ ...ask, stream: true })) types.push(event.type);
  const once = types.filter((type, i) => type !== types[i - 1]);
  assert.deepEqual(once, ['message_start', 'content_block_start', 'content_block_delta', 'content_block_stop',
    'message_delta', 'message_stop']);
});

test('a tool is used, its result goes back, the answer speaks of it', async () => {
  const first = await client.messages.create(book);
  assert.equal(first.stop_reason, 'tool_use');
  const use = first.content.find((block) => block.type === 'tool_use');
  assert.equal(use.name, name);
  assert.deepEqual(use.input, booking.arguments);
  const result = { type: 'tool_result', tool_use_id: use.id, content: booking.result };
  const messages = [...book.messages, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }];
  const second = await client.messages.create({ ...book, messages });
  assert.match(second.content.at(-1).text, booking.answer);
});

test('the use of a tool can be forced', async () => {
  const { content } = await client.messages.create(
    { ...book, messages: ask.messages, thinking: { type: 'disabled' }, tool_choice: { type: 'tool', name } });
  assert.equal(content[0].name, name);
});

test('a streamed tool use adds up to the same input', async () => {
  const final = await client.messages.stream(book).finalMessage();
  assert.equal(final.stop_reason, 'tool_use');
  assert.deepEqual(final.content.at(-1).input, booking.arguments);
});

for (const stream of [false, true])
  test(`the package's own runner drives the whole loop, ${stream ? 'streamed' : 'whole'}`, async () => {
    let used;
    const run = (input) => ((used = input), booking.result);
    const tool = betaTool({ name, description, inputSchema: booking.parameters, run });
    const runner = client.beta.messages.toolRunner({ ...book, tools: [tool], stream });
    assert.match((await runner.runUntilDone()).content.at(-1).text, booking.answer);
    assert.deepEqual(used, booking.arguments);
  });

test('parse: the text has the form of a schema', async () => {
  const message = await client.messages.parse({ ...ask, output_config: { format: zodOutputFormat(sum) } });
  assert.ok([18, 19].includes(message.parsed_output.sum));
});

test('tokens are counted as a message reports them', async () => {
  const system = 'Be kind.';
  const { input_tokens } = await client.messages.countTokens({ model, system, messages: ask.messages });
  const { usage } = await client.messages.create({ ...ask, system });
  assert.equal(input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
});

test('stop sequences are told', async () => {
  const message = await client.messages.create({ ...ask, stop_sequences: ['9'] });
  assert.equal(message.stop_reason, 'stop_sequence');
  assert.equal(message.stop_sequence, '9');
});

test('errors are the classes of the package', async () => {
  const create = (change) => client.messages.create({ ...ask, ...change });
  await assert.rejects(create({ model: 'other' }), (error) =>
    error instanceof Anthropic.NotFoundError && error.error.error.type === 'not_found_error');
  await assert.rejects(create({ temperature: 'hot' }), (error) =>
    error instanceof Anthropic.BadRequestError && /temperature must be a number/.test(error.message));
  await assert.rejects(create({ messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] }), /text only/);
  const stranger = new Anthropic({ baseURL: url, apiKey: 'wrong', maxRetries: 0 });
  await assert.rejects(stranger.messages.create(ask), Anthropic.AuthenticationError);
  const bearer = new Anthropic({ baseURL: url, authToken: key, apiKey: null, maxRetries: 0 });
  assert.match((await bearer.messages.create(ask)).content[0].text, answer);
});

test('an aborted stream ends at the client, and the server goes on', async () => {
  const stream = client.messages.stream({ ...ask, max_tokens: 4000, ignore_eos: true });
  stream.on('text', () => stream.abort());
  await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
  assert.match((await client.messages.create(ask)).content[0].text, answer);
});
