// Vercel's ai with @ai-sdk/openai-compatible.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import { answer, booking, question, sum } from './demo.js';
import { key, model, serve } from './server.js';

const { url } = await serve();
const nibble = createOpenAICompatible({ name: 'nibble', baseURL: `${url}/v1`, apiKey: key, includeUsage: true,
  supportsStructuredOutputs: true });
const ask = { model: nibble(model), prompt: question, temperature: 0, maxRetries: 0 };

const called = [];
const book = {
  ...ask,
  prompt: booking.prompt,
  stopWhen: stepCountIs(3),
  tools: {
    [booking.name]: tool({
      description: booking.description,
      inputSchema: jsonSchema(booking.parameters),
      execute: async (input) => (called.push(input), JSON.parse(booking.result)),
    }),
  },
};

test('generateText: text, reasoning, usage', async () => {
  const { text, reasoningText, finishReason, usage } = await generateText(ask);
  assert.match(text, answer);
  assert.ok(reasoningText);
  assert.equal(finishReason, 'stop');
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
});

test('streamText gives the same text, with reasoning and usage', async () => {
  const whole = await generateText(ask);
  const stream = streamText(ask);
  let text = '';
  for await (const piece of stream.textStream) text += piece;
  assert.equal(text, whole.text);
  assert.equal(await stream.reasoningText, whole.reasoningText);
  assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
});

test('generateText calls the tool and goes on with its result', async () => {
  const { steps, text } = await generateText(book);
  assert.equal(steps.length, 2);
  assert.equal(steps[0].finishReason, 'tool-calls');
  assert.deepEqual(called.pop(), booking.arguments);
  assert.match(text, booking.answer);
});

test('streamText calls the tool and goes on with its result', async () => {
  const stream = streamText(book);
  assert.match(await stream.text, booking.answer);
  assert.deepEqual(called.pop(), booking.arguments);
  assert.equal((await stream.steps).length, 2);
});

test('generateObject: the answer has the form of a schema', async () => {
  const { object } = await generateObject({ ...ask, schema: sum });
  assert.ok([18, 19].includes(object.sum));
});

test('an unknown model is an error that says so', async () => {
  await assert.rejects(generateText({ ...ask, model: nibble('other') }), (error) =>
    error.statusCode === 404 && /does not exist/.test(error.message));
});
