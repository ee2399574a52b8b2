/** Pairs that operators write: extra specs and QoS specs. Their keys are letters, digits and `-_:. `. */
import Type from 'typebox';
import { characterCount } from './body.ts';

const keyPattern = /^[a-zA-Z0-9\-_:. ]{1,255}$/;
const lengthMax = 255;

const isShort = (value: unknown): boolean => typeof value === 'string' && characterCount(value) <= lengthMax;

const specsOf = (allowed: (value: unknown) => boolean) => (specs: object) =>
  Object.entries(specs).every(([key, value]) => keyPattern.test(key) && allowed(value));

const rule = '{value} is not valid: keys have 1 to 255 letters, digits or -_:. and spaces, values are text of up to 255';

export const specs = Type.Refine(Type.Unsafe<Record<string, string>>(Type.Object({})), specsOf(isShort), () => rule);

/** Numbers, too, as some clients send them. */
export const specsOrNumbers = Type.Refine(
  Type.Unsafe<Record<string, string | number>>(Type.Object({})),
  specsOf((value) => typeof value === 'number' || isShort(value)),
  () => rule,
);

export const specsWithNulls = Type.Refine(
  Type.Unsafe<Record<string, string | null>>(Type.Object({})),
  specsOf((value) => value === null || isShort(value)),
  () => rule,
);

/** What is null is not there. */
export const withoutNulls = (pairs: Readonly<Record<string, string | null>>): Record<string, string> =>
  Object.fromEntries(Object.entries(pairs).filter((entry): entry is [string, string] => entry[1] !== null));
