import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { ProductError } from '../../../lib/errors.ts';
import {
  booleanLike,
  distinctTexts,
  keystoneBodyMessage,
  metadata,
  metadataWithNulls,
  nameOrNull,
  parseBody,
  parseBoolean,
  text,
} from './body.ts';

const schema = Type.Object({
  volume: Type.Object(
    {
      size: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
      name: Type.Optional(nameOrNull),
      kind: Type.Optional(Type.Enum(['a', 'b'])),
      readonly: Type.Optional(booleanLike),
      metadata: Type.Optional(metadata),
    },
    { additionalProperties: false },
  ),
});

function refusal(body: unknown, message?: typeof keystoneBodyMessage): string {
  try {
    parseBody(schema, body, message);
  } catch (error) {
    if (error instanceof ProductError && error.kind === 'bad-request') return error.message;
    throw error;
  }
  return 'accepted';
}

describe('a body', () => {
  it('is handed on as the very same value', () => {
    const body = { volume: { size: 1, name: ' x ', readonly: 'Yes' } };
    expect(parseBody(schema, body)).toBe(body);
  });

  it('is refused with the field, its value and the reason', () => {
    expect(refusal({ volume: { size: null, kind: 'c' } })).toBe(
      "Invalid input for field/attribute kind. Value: c. 'c' is not one of ['a', 'b']",
    );
    expect(refusal({ volume: { size: 0 } })).toBe(
      'Invalid input for field/attribute size. Value: 0. 0 is not valid under any of the given schemas',
    );
    expect(refusal({ volume: { size: 1, readonly: 'maybe' } })).toContain("Value: maybe. 'maybe' is not");
    expect(refusal({ volume: null })).toBe("Invalid input for field/attribute volume. Value: None. None is not of type 'object'");
  });

  it('is refused by name when a property is missing or too much', () => {
    expect(refusal(undefined)).toBe("'volume' is a required property");
    expect(refusal({ volume: { size: 1, a: 1, b: 2 } })).toContain("Additional properties are not allowed ('a', 'b' were unexpected)");
  });

  it('is refused in the words of Identity there', () => {
    expect(refusal({ volume: { size: 1, kind: 4 } }, keystoneBodyMessage)).toContain("Invalid input for field 'volume/kind': 4 is not");
  });
});

describe('texts', () => {
  it('are measured in code points, not in what looks like one letter', () => {
    const short = Type.Object({ name: text(3, 1) });
    expect(() => parseBody(short, { name: '😀😀😀' })).not.toThrow();
    expect(() => parseBody(short, { name: 'e\u0301\u0301\u0301' })).toThrow('is too long');
    expect(() => parseBody(short, { name: '' })).toThrow('is too short');
  });

  it('count without the spaces around a name', () => {
    expect(refusal({ volume: { size: 1, name: ` ${'x'.repeat(255)} ` } })).toBe('accepted');
    expect(refusal({ volume: { size: 1, name: 'x'.repeat(256) } })).toContain('Invalid input for field/attribute name.');
  });
});

describe('metadata', () => {
  const accepts = (value: unknown) => refusal({ volume: { size: 1, metadata: value } }) === 'accepted';

  it('has keys of 1 to 255 characters and texts of up to 255', () => {
    expect(accepts({ a: '', ['k'.repeat(255)]: 'v'.repeat(255) })).toBe(true);
    for (const bad of [{ '': 'x' }, { ['k'.repeat(256)]: 'x' }, { a: 'v'.repeat(256) }, { a: 1 }, { a: null }, { 'a\nb': {} }, [], 'x']) {
      expect(accepts(bad)).toBe(false);
    }
  });

  it('may hold nulls where the contract says so', () => {
    expect(() => parseBody(Type.Object({ metadata: metadataWithNulls }), { metadata: { a: null } })).not.toThrow();
  });
});

it('reads words for true and false in any case', () => {
  for (const word of [true, 'TRUE', '1', 't', 'Y', 'yes', 'on']) expect(parseBoolean(word)).toBe(true);
  for (const word of [false, 'False', '0', 'F', 'n', 'NO', 'off']) expect(parseBoolean(word)).toBe(false);
  for (const word of [1, null, '', 'maybe']) expect(parseBoolean(word)).toBeUndefined();
});

describe('a list without repeats', () => {
  const list = distinctTexts(Type.Array(Type.String()));

  it('is refused for repeats in no more time than it takes to read it', () => {
    const items = Array.from({ length: 200_000 }, (_, index) => String(index % 2));
    expect(() => parseBody(list, items, keystoneBodyMessage)).toThrow('has non-unique elements');
    expect(parseBody(list, ['a', 'b'])).toEqual(['a', 'b']);
    expect(() => parseBody(list, { length: 3 })).toThrow("is not of type 'array'");
  });
});
