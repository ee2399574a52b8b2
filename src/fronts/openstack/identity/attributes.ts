/** Kinds of attributes that many resources have. */
import Type from 'typebox';
import { distinctTexts, text } from '../shared/body.ts';

export const textOrNull = Type.Union([Type.String(), Type.Null()]);

/** Up to `max` characters, and not only space. */
export const nameOf = (max: number) =>
  Type.Refine(
    text(max, 1),
    (value) => value.trim() !== '',
    () => "{value} does not match '[\\\\S]+'",
  );

/** Of users, groups and roles. */
export const name = nameOf(255);
/** Of domains and projects. */
export const shortName = nameOf(64);

/** Of domains, projects and roles. Null takes the option away. */
export const resourceOptions = Type.Object(
  { immutable: Type.Optional(Type.Union([Type.Boolean(), Type.Null()])) },
  { additionalProperties: false },
);

/** Undefined: nothing was said of it. */
export function immutableOf(options: { readonly immutable?: boolean | null } | undefined): boolean | undefined {
  return options?.immutable === null ? false : options?.immutable;
}

export const optionsView = ({ immutable }: { readonly immutable: boolean }) => (immutable ? { immutable } : {});

export const tag = Type.Refine(
  text(255, 1),
  (value) => !/[,/]/.test(value),
  () => "{value} does not match '^[^,/]*$'",
);
export const tags = distinctTexts(Type.Array(tag, { maxItems: 80 }));
