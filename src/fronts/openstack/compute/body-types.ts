/** Numbers in bodies, which Compute also takes as text. */
import Type from 'typebox';

/** What a 32-bit column holds. */
export const integerMax = 2 ** 31 - 1;

/** Read it with `Number`. */
export const wholeNumber = (min: number, max = integerMax) =>
  Type.Refine(
    Type.Unsafe<number | string>({}),
    (value) => isWhole(value) && Number(value) >= min && Number(value) <= max,
    () => `{value} is not a whole number from ${min} to ${max}`,
  );

const isWhole = (value: unknown): boolean => (typeof value === 'string' ? /^-?\d{1,10}$/.test(value) : Number.isInteger(value));

/** More than 0. Read it with `Number`. */
export const positiveDecimal = Type.Refine(
  Type.Unsafe<number | string>({}),
  (value) => isDecimal(value) && Number(value) > 0 && Number(value) <= 3.40282e38,
  () => '{value} is not a number above 0',
);

const isDecimal = (value: unknown): boolean => (typeof value === 'string' ? /^\d{1,40}(\.\d{1,40})?$/.test(value) : Number.isFinite(value));
