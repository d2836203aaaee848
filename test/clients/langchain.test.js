// @langchain/openai.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { answer, booking, question, sum } from './demo.js';
import { key, model, serve } from './server.js';

const { url } = await serve();
const chat = new ChatOpenAI({ model, apiKey: key, temperature: 0, maxRetries: 0, configuration: { baseURL: `${url}/v1` } });
const { name, description, parameters } = booking;
const withTools = chat.bindTools([{ type: 'function', function: { name, description, parameters } }]);

test('invoke answers with usage', async () => {
  const message = await chat.invoke(question);
  assert.match(message.content, answer);
  assert.ok(message.usage_metadata.output_tokens > 0);
  assert.equal(message.response_metadata.finish_reason, 'stop');
});

test('stream gives the same text', async () => {
  const whole = await chat.invoke(question);
  let text = '';
  for await (const chunk of await chat.stream(question)) text += chunk.content;
  assert.equal(text, whole.content);
});

test('batch answers all', async () => {
  for (const message of await chat.batch([question, question, question])) assert.match(message.content, answer);
});

test('withStructuredOutput: the answer has the form of a schema', async () => {
  const value = await chat.withStructuredOutput(sum, { method: 'jsonSchema' }).invoke(question);
  assert.ok([18, 19].includes(value.sum));
});

test('bindTools: call, result, answer', async () => {
  const messages = [new HumanMessage(booking.prompt)];
  const first = await withTools.invoke(messages);
  const [call] = first.tool_calls;
  assert.equal(call.name, name);
  assert.deepEqual(call.args, booking.arguments);
  messages.push(first, new ToolMessage({ tool_call_id: call.id, content: booking.result }));
  assert.match((await withTools.invoke(messages)).content, booking.answer);
});

test('bindTools: a call can be required', async () => {
  const forced = chat.bindTools([{ type: 'function', function: { name, description, parameters } }], { tool_choice: 'required' });
  assert.equal((await forced.invoke(question)).tool_calls[0].name, name);
});

test('bindTools, streamed: the chunks add up to the call', async () => {
  let sum;
  for await (const chunk of await withTools.stream(booking.prompt)) sum = sum ? sum.concat(chunk) : chunk;
  assert.equal(sum.tool_calls[0].name, name);
  assert.deepEqual(sum.tool_calls[0].args, booking.arguments);
});
