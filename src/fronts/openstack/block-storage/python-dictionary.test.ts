import { expect, it } from 'vitest';
import { parseDictionary } from './python-dictionary.ts';

it.each([
  ['{}', {}],
  [' { } ', {}],
  ["{'k': 'v'}", { k: 'v' }],
  ['{"k": "v", "l": "w"}', { k: 'v', l: 'w' }],
  ["{u'k': u'v', 'a' : \"it's\"}", { k: 'v', a: "it's" }],
  [String.raw`{'it\'s': 'a, b: {c}'}`, { "it's": 'a, b: {c}' }],
])('%s is read as a dictionary', (text, pairs) => {
  expect(parseDictionary(text)).toEqual(pairs);
});

it.each(['', 'k=v', "{'k'}", "{'k': 1}", "{'k': 'v'", "{'k': 'v'} x", "{'k': 'v' 'l': 'w'}"])('%s is no dictionary of texts', (text) => {
  expect(parseDictionary(text)).toBeUndefined();
});
