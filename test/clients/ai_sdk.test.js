// Vercel's ai over each API that it speaks: chat completions, responses, messages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import { answer, booking, question, sum } from './demo.js';
import { key, model, serve } from './server.js';

const { url } = await serve();
// Beside reasoning some providers leave the temperature out; without it answers are drawn.
const greedy = (to, { body, ...init }) => fetch(to, { ...init, body: JSON.stringify({ ...JSON.parse(body), temperature: 0 }) });
const settings = { baseURL: `${url}/v1`, apiKey: key, fetch: greedy };
const thinking = { type: 'enabled', budgetTokens: 1024 };
const providers = {
  'openai-compatible': {
    provider: createOpenAICompatible({ ...settings, name: 'nibble', includeUsage: true, supportsStructuredOutputs: true }),
  },
  // Nothing is stored, so items must come back whole.
  openai: {
    provider: createOpenAI(settings),
    providerOptions: { openai: { store: false, forceReasoning: true, reasoningSummary: 'auto' } },
  },
  anthropic: {
    provider: createAnthropic(settings),
    providerOptions: { anthropic: { thinking, structuredOutputMode: 'outputFormat' } },
  },
};

const called = [];
const book = {
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

for (const [name, { provider, providerOptions }] of Object.entries(providers)) {
  const common = { model: provider(model), providerOptions, maxOutputTokens: 500, maxRetries: 0 };
  const ask = { ...common, prompt: question };

  test(`${name}: generateText gives text, reasoning, usage`, async () => {
    const { text, reasoningText, finishReason, usage } = await generateText(ask);
    assert.match(text, answer);
    assert.ok(reasoningText);
    assert.equal(finishReason, 'stop');
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  });

  test(`${name}: streamText gives the same text, with reasoning and usage`, async () => {
    const whole = await generateText(ask);
    const stream = streamText(ask);
    let text = '';
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, whole.text);
    assert.equal(await stream.reasoningText, whole.reasoningText);
    assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
  });

  test(`${name}: generateText calls the tool and goes on with its result`, async () => {
    const { steps, text } = await generateText({ ...common, ...book });
    assert.equal(steps.length, 2);
    assert.equal(steps[0].finishReason, 'tool-calls');
    assert.deepEqual(called.pop(), booking.arguments);
    assert.match(text, booking.answer);
  });

  test(`${name}: streamText calls the tool and goes on with its result`, async () => {
    const stream = streamText({ ...common, ...book });
    assert.match(await stream.text, booking.answer);
    assert.deepEqual(called.pop(), booking.arguments);
    assert.equal((await stream.steps).length, 2);
  });

  test(`${name}: the output has the form of a schema`, async () => {
    const { output } = await generateText({ ...ask, output: Output.object({ schema: sum }) });
    assert.ok([18, 19].includes(output.sum));
  });

  test(`${name}: an unknown model is an error that says so`, async () => {
    await assert.rejects(generateText({ ...ask, model: provider('other') }), (error) =>
      error.statusCode === 404 && /does not exist/.test(error.message));
  });
}
