import Type, { type Static, type TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import { badRequest } from '../../../lib/errors.ts';
import { isUuid } from '../../../lib/ids.ts';
import { pythonRepresentation, pythonText } from './python-text.ts';

/** Words a refusal: `field` is the innermost property, `path` all of them, joined by slashes; both empty for the body as a whole. */
export type BodyMessage = (problem: { field: string; path: string; value: unknown; why: string }) => string;

export const cinderBodyMessage: BodyMessage = ({ field, value, why }) =>
  field === '' ? why : `Invalid input for field/attribute ${field}. Value: ${pythonText(value)}. ${why}`;

export const keystoneBodyMessage: BodyMessage = ({ path, why }) => (path === '' ? why : `Invalid input for field '${path}': ${why}`);

const validators = new WeakMap<TSchema, Validator>();

/**
 * Checks a request body and hands it on as it is: nothing is coerced, filled in or dropped. Schemas are compiled once, so they
 * must be constants.
 */
export function parseBody<const S extends TSchema>(schema: S, body: unknown, message: BodyMessage = cinderBodyMessage): Static<S> {
  let validator = validators.get(schema);
  if (validator === undefined) {
    validator = Compile(schema) as Validator;
    validators.set(schema, validator);
  }
  // A missing body is the same mistake as an empty one: the envelope key is not there.
  const candidate = body === undefined ? {} : body;
  if (!validator.Check(candidate)) throw badRequest(message(problemOf(validator, candidate)));
  return candidate as Static<S>;
}

type SchemaError = ReturnType<Validator['Errors']>[number];

function problemOf(validator: Validator, body: unknown): { field: string; path: string; value: unknown; why: string } {
  const errors = validator.Errors(body);
  const error = mostTelling(errors);
  const names = (error?.instancePath ?? '').split('/').slice(1).map(unescapePointer);
  const value = names.reduce<unknown>((inner, name) => (inner as Record<string, unknown> | undefined)?.[name], body);
  const why = error === undefined ? 'The body is not valid' : explain(error, value);
  // What is missing or too much belongs to the object as a whole; the original reports it under no field when that is the body itself.
  return { field: names.at(-1) ?? '', path: names.join('/'), value, why };
}

/** The alternatives of a union are each reported; the user wants to hear of the union only. */
function mostTelling(errors: readonly SchemaError[]): SchemaError | undefined {
  const unions = errors.filter((error) => error.keyword === 'anyOf').map((error) => `${error.schemaPath}/anyOf/`);
  const outer = errors.filter((error) => !unions.some((union) => error.schemaPath.startsWith(union)));
  return outer.find((error) => error.keyword !== 'boolean') ?? outer[0];
}

function explain(error: SchemaError, value: unknown): string {
  const shown = pythonRepresentation(value);
  switch (error.keyword) {
    case 'required':
      return `'${error.params.requiredProperties[0]}' is a required property`;
    case 'additionalProperties': {
      const names = error.params.additionalProperties.map((name) => `'${name}'`);
      return `Additional properties are not allowed (${names.join(', ')} ${names.length === 1 ? 'was' : 'were'} unexpected)`;
    }
    case 'type':
      return `${shown} is not of type ${[error.params.type]
        .flat()
        .map((type) => `'${type}'`)
        .join(', ')}`;
    case 'minimum':
      return `${shown} is less than the minimum of ${error.params.limit}`;
    case 'maximum':
      return `${shown} is greater than the maximum of ${error.params.limit}`;
    case 'minLength':
      return `${shown} is too short`;
    case 'maxLength':
      return `${shown} is too long`;
    case 'pattern':
      return `${shown} does not match ${pythonRepresentation(String(error.params.pattern))}`;
    case 'enum':
      return `${shown} is not one of ${pythonRepresentation(error.params.allowedValues)}`;
    case 'const':
      return `${pythonRepresentation(error.params.allowedValue)} was expected`;
    case 'anyOf':
      return `${shown} is not valid under any of the given schemas`;
    case '~refine':
      return error.message === '' ? `${shown} is not valid` : error.message.replaceAll('{value}', shown);
    default:
      return `${shown} ${error.message}`;
  }
}

function unescapePointer(name: string): string {
  return name.replaceAll('~1', '/').replaceAll('~0', '~');
}

/** Lengths are counted in code points. (The schema library counts what a reader would call a letter, which has no upper bound in bytes.) */
export const characterCount = (text: string): number => [...text].length;

function lengthWithin(min: number, max: number) {
  return (text: string): boolean => text.length <= max * 2 && characterCount(text) <= max && characterCount(text) >= min;
}

/** Text of `min` to `max` code points. */
export function text(max: number, min = 0) {
  return Type.Refine(
    Type.Refine(
      Type.String(),
      (value) => characterCount(value) <= max,
      () => '{value} is too long',
    ),
    (value) => characterCount(value) >= min,
    () => '{value} is too short',
  );
}

/** A name or description: up to 255 characters, or null. Spaces around it do not count: see `stripped`. */
export const uuid = Type.Refine(Type.String(), isUuid, () => "{value} is not a 'uuid'");

export const nameOrNull = Type.Union([
  Type.Refine(
    Type.String(),
    (name) => lengthWithin(0, 255)(name.trim()),
    () => '{value} is too long',
  ),
  Type.Null(),
]);

export function stripped(name: string): string;
export function stripped(name: string | null): string | null;
export function stripped(name: string | null | undefined): string | null | undefined;
export function stripped(name: string | null | undefined): string | null | undefined {
  return name?.trim() ?? name;
}

const truths = ['true', '1', 't', 'y', 'yes', 'on'];
const falsehoods = ['false', '0', 'f', 'n', 'no', 'off'];

/** True, false, or undefined for what is neither. Takes JSON booleans and the usual words in any case. */
export function parseBoolean(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'string') return undefined;
  const word = value.trim().toLowerCase();
  if (truths.includes(word)) return true;
  return falsehoods.includes(word) ? false : undefined;
}

/** A JSON boolean or a word for one; read it with `parseBoolean`. */
export const booleanLike = Type.Union([
  Type.Boolean(),
  Type.Refine(
    Type.String(),
    (value) => parseBoolean(value) !== undefined,
    () => '{value} is not a boolean',
  ),
]);

/** Beside a schema of an array. (The schema library compares each item that occurs again with all others.) */
export const distinctTexts = <S extends TSchema>(list: S) =>
  Type.Refine(
    list,
    (items) => !Array.isArray(items) || new Set(items).size === items.length,
    () => '{value} has non-unique elements',
  );

/**
 * `{key: value}` with keys of 1 to 255 characters and text values up to 255. Checked by hand: a record schema applies its rules only to
 * keys that its pattern matches, which leaves keys with line breaks unchecked.
 */
export const metadata = Type.Refine(
  Type.Unsafe<Record<string, string>>(Type.Object({})),
  (value) => hasMetadataShape(value, false),
  () => '{value} is not valid metadata: keys have 1 to 255 characters, values are text of up to 255',
);

export const metadataWithNulls = Type.Refine(
  Type.Unsafe<Record<string, string | null>>(Type.Object({})),
  (value) => hasMetadataShape(value, true),
  () => '{value} is not valid metadata: keys have 1 to 255 characters, values are text of up to 255 or null',
);

function hasMetadataShape(value: object, nullsAllowed: boolean): boolean {
  const isKey = lengthWithin(1, 255);
  const isText = lengthWithin(0, 255);
  return Object.entries(value).every(
    ([key, item]) => isKey(key) && ((typeof item === 'string' && isText(item)) || (nullsAllowed && item === null)),
  );
}
