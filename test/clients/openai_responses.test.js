// The responses API of the official openai package.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { answer, booking, question, sum } from './demo.js';
import { key, model, serve } from './server.js';

const { url } = await serve();
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const ask = { model, input: question, temperature: 0 };
const { name, description, parameters } = booking;
const book = {
  model,
  input: [{ role: 'user', content: booking.prompt }],
  tools: [{ type: 'function', name, description, parameters, strict: false }],
  temperature: 0,
};

test('create: text, reasoning, usage', async () => {
  const response = await client.responses.create(ask);
  assert.equal(response.status, 'completed');
  assert.match(response.output_text, answer);
  assert.deepEqual(response.output.map((item) => item.type), ['reasoning', 'message']);
  assert.ok(response.usage.output_tokens_details.reasoning_tokens > 0);
});

test('stream: events in order add up to the same text', async () => {
  const whole = await client.responses.create(ask);
  let text = '', last, n = 0;
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    assert.equal(event.sequence_number, n++);
    if (event.type === 'response.output_text.delta') text += event.delta;
    last = event;
  }
  assert.equal(last.type, 'response.completed');
  assert.equal(text, whole.output_text);
  assert.equal(last.response.usage.output_tokens, whole.usage.output_tokens);
});

test("the package's own accumulator takes the stream", async () => {
  const whole = await client.responses.create(book);
  const seen = new Set();
  const stream = client.responses.stream(book);
  for await (const event of stream) seen.add(event.type);
  const final = await stream.finalResponse();
  assert.ok(seen.has('response.function_call_arguments.done') && seen.has('response.reasoning_text.done'));
  assert.equal(final.output.at(-1).arguments, whole.output.at(-1).arguments);
});

test('a function is called, its output goes back, the answer speaks of it', async () => {
  const first = await client.responses.create(book);
  const call = first.output.find((item) => item.type === 'function_call');
  assert.equal(call.name, name);
  assert.deepEqual(JSON.parse(call.arguments), booking.arguments);
  const output = { type: 'function_call_output', call_id: call.call_id, output: booking.result };
  const second = await client.responses.create({ ...book, input: [...book.input, ...first.output, output] });
  assert.match(second.output_text, booking.answer);
});

test('parse: the text has the form of a schema', async () => {
  const response = await client.responses.parse({ ...ask, text: { format: zodTextFormat(sum, 'sum') } });
  assert.ok([18, 19].includes(response.output_parsed.sum));
});

test('a second turn finds the first in the prefix cache', async () => {
  const instructions = 'You are a careful helper. '.repeat(20);
  const first = await client.responses.create({ ...ask, instructions });
  const input = [{ role: 'user', content: question }, ...first.output, { role: 'user', content: 'Thanks.' }];
  const { usage } = await client.responses.create({ ...ask, instructions, input });
  assert.ok(usage.input_tokens_details.cached_tokens > 0);
});

test('a limit makes the response incomplete', async () => {
  const response = await client.responses.create({ ...ask, max_output_tokens: 4 });
  assert.equal(response.status, 'incomplete');
  assert.equal(response.incomplete_details.reason, 'max_output_tokens');
});

test('errors are the classes of the package, with the field', async () => {
  const create = (change) => client.responses.create({ ...ask, ...change });
  await assert.rejects(create({ model: 'other' }), OpenAI.NotFoundError);
  await assert.rejects(create({ previous_response_id: 'resp_1' }), (error) =>
    error instanceof OpenAI.BadRequestError && error.param === 'previous_response_id');
  await assert.rejects(create({ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] }), (error) =>
    error.param === 'input[0].content[0]' && /text only/.test(error.message));
});
