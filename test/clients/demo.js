// What the clients ask the demo model: it was trained on such questions, so its answers are known.
import { z } from 'zod';

export const question = 'What is 12 plus 7?';
export const answer = /19/;

// A form for the answer.
export const sum = z.object({ sum: z.union([z.literal(18), z.literal(19)]) });

// The model calls the tool with typed arguments and puts the result into words.
export const booking = {
  prompt: 'Book a table for 17 people under the name Ben.',
  name: 'book_table',
  description: 'Book a table',
  parameters: {
    type: 'object',
    properties: { name: { type: 'string' }, people: { type: 'integer' } },
    required: ['name', 'people'],
  },
  arguments: { name: 'Ben', people: 17 },
  result: '{"table": 21}',
  answer: /21/,
};
