// The official openai package: chat, streams, tools, log-probabilities, text completions, models, errors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { answer, booking, question, sum } from './demo.js';
import { key, model, serve } from './server.js';

const { url } = await serve();
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const ask = { model, messages: [{ role: 'user', content: question }], temperature: 0 };
const { name, description, parameters } = booking;
const book = {
  model,
  messages: [{ role: 'user', content: booking.prompt }],
  tools: [{ type: 'function', function: { name, description, parameters } }],
  temperature: 0,
};

test('chat answers with reasoning and usage', async () => {
  const { choices, usage, object } = await client.chat.completions.create(ask);
  assert.equal(object, 'chat.completion');
  assert.match(choices[0].message.content, answer);
  assert.ok(choices[0].message.reasoning_content);
  assert.equal(choices[0].finish_reason, 'stop');
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
});

test('a stream gives the same text, then its usage', async () => {
  const whole = await client.chat.completions.create(ask);
  const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
  let content = '', finish, usage;
  for await (const chunk of stream) {
    content += chunk.choices[0]?.delta.content ?? '';
    finish ??= chunk.choices[0]?.finish_reason;
    usage = chunk.usage;
  }
  assert.equal(content, whole.choices[0].message.content);
  assert.equal(finish, 'stop');
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("the package's own accumulator makes the same message of a stream", async () => {
  const whole = await client.chat.completions.create(book);
  const final = await client.chat.completions.stream(book).finalChatCompletion();
  assert.equal(final.choices[0].finish_reason, 'tool_calls');
  assert.deepEqual(final.choices[0].message.tool_calls[0].function.arguments,
    whole.choices[0].message.tool_calls[0].function.arguments);
});

test('a tool is called, its result goes back, the answer speaks of it', async () => {
  const first = await client.chat.completions.create(book);
  const [call] = first.choices[0].message.tool_calls;
  assert.equal(first.choices[0].finish_reason, 'tool_calls');
  assert.equal(call.function.name, name);
  assert.deepEqual(JSON.parse(call.function.arguments), booking.arguments);
  const result = { role: 'tool', tool_call_id: call.id, content: booking.result };
  const second = await client.chat.completions.create({ ...book, messages: [...book.messages, first.choices[0].message, result] });
  assert.match(second.choices[0].message.content, booking.answer);
  assert.equal(second.choices[0].finish_reason, 'stop');
});

test('runTools drives the whole loop, streamed', async () => {
  let called;
  const execute = (args) => ((called = args), booking.result);
  const runner = client.chat.completions.runTools({
    ...book,
    stream: true,
    tools: [{ type: 'function', function: { name, description, parameters, parse: JSON.parse, function: execute } }],
  });
  assert.match(await runner.finalContent(), booking.answer);
  assert.deepEqual(called, booking.arguments);
});

test('a call can be required', async () => {
  const { choices: [choice] } = await client.chat.completions.create(
    { ...book, messages: ask.messages, tool_choice: 'required', max_tokens: 300 });
  assert.equal(choice.message.tool_calls[0].function.name, name);
});

test('parse: the answer has the form of a schema', async () => {
  const { choices } = await client.chat.completions.parse({ ...ask, response_format: zodResponseFormat(sum, 'sum') });
  assert.ok([18, 19].includes(choices[0].message.parsed.sum));
});

test('log-probabilities belong to the tokens of the text', async () => {
  const { choices: [choice] } = await client.chat.completions.create(
    { ...ask, logprobs: true, top_logprobs: 2, reasoning_effort: 'none' });
  const entries = choice.logprobs.content;
  assert.equal(entries.map((entry) => entry.token).join(''), choice.message.content);
  for (const entry of entries) {
    assert.ok(entry.logprob <= 0);
    assert.equal(entry.top_logprobs.length, 2);
    assert.equal(entry.top_logprobs[0].token, entry.token); // greedy
  }
});

test('several choices come with their indices', async () => {
  const { choices } = await client.chat.completions.create({ ...ask, n: 3, temperature: 1.5, seed: 7, max_tokens: 8 });
  assert.deepEqual(choices.map((choice) => choice.index), [0, 1, 2]);
  assert.equal(choices[0].finish_reason, 'length');
});

test('text completions, whole and streamed', async () => {
  const request = { model, prompt: 'In the beginning', max_tokens: 8, temperature: 0 };
  const whole = await client.completions.create(request);
  let text = '';
  for await (const chunk of await client.completions.create({ ...request, stream: true })) text += chunk.choices[0].text;
  assert.ok(text);
  assert.equal(text, whole.choices[0].text);
});

test('models are listed and found', async () => {
  const { data } = await client.models.list();
  assert.deepEqual(data.map((entry) => entry.id), [model]);
  assert.equal((await client.models.retrieve(model)).object, 'model');
  await assert.rejects(client.models.retrieve('other'), OpenAI.NotFoundError);
});

test('errors are the classes of the package, with the field', async () => {
  const chat = (change) => client.chat.completions.create({ ...ask, ...change });
  await assert.rejects(chat({ model: 'other' }), (error) =>
    error instanceof OpenAI.NotFoundError && error.status === 404 && error.code === 'model_not_found');
  await assert.rejects(chat({ temperature: 'hot' }), (error) =>
    error instanceof OpenAI.BadRequestError && error.param === 'temperature' && /must be a number/.test(error.message));
  await assert.rejects(chat({ messages: [] }), (error) => error.param === 'messages');
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'wrong', maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});

test('an aborted stream ends at the client, and the server goes on', async () => {
  const long = { ...ask, stream: true, max_tokens: 4000, ignore_eos: true };
  const stream = await client.chat.completions.create(long);
  let n = 0;
  for await (const _ of stream) if (++n === 3) stream.controller.abort();
  assert.ok(n < 4000);
  const signal = AbortSignal.timeout(200);
  await assert.rejects(client.chat.completions.create({ ...long, stream: false }, { signal }), OpenAI.APIUserAbortError);
  assert.match((await client.chat.completions.create(ask)).choices[0].message.content, answer);
});
