/** What the bodies of backup requests may hold. Strict at every microversion: what is not named here is refused. */
import Type from 'typebox';
import { isUuid } from '../../../lib/ids.ts';
import { booleanLike, metadata, metadataWithNulls, nameOrNull, text } from '../shared/body.ts';
import type { Microversion } from '../shared/microversion.ts';

const strict = { additionalProperties: false };

const uuid = Type.Refine(Type.String(), isUuid, () => "{value} is not a 'uuid'");
const uuidOrNull = Type.Union([uuid, Type.Null()]);

const createFields = {
  volume_id: uuid,
  container: Type.Optional(Type.Union([text(255), Type.Null()])),
  name: Type.Optional(nameOrNull),
  description: Type.Optional(nameOrNull),
  incremental: Type.Optional(booleanLike),
  force: Type.Optional(booleanLike),
  snapshot_id: Type.Optional(uuidOrNull),
};
const createFields343 = { ...createFields, metadata: Type.Optional(Type.Union([metadataWithNulls, Type.Null()])) };
const createFields351 = { ...createFields343, availability_zone: Type.Optional(Type.Union([text(255), Type.Null()])) };

const create = Type.Object({ backup: Type.Object(createFields, strict) }, strict);
const create343 = Type.Object({ backup: Type.Object(createFields343, strict) }, strict);
const create351 = Type.Object({ backup: Type.Object(createFields351, strict) }, strict);

/** The widest shape covers the narrower ones, whose additional fields are never there. */
export type CreateBody = Type.Static<typeof create351>;

export function createSchema(microversion: Microversion): typeof create351 {
  if (microversion.atLeast(3, 51)) return create351;
  return (microversion.atLeast(3, 43) ? create343 : create) as typeof create351;
}

const updateFields = { name: Type.Optional(nameOrNull), description: Type.Optional(nameOrNull) };
const update = Type.Object({ backup: Type.Object(updateFields, { ...strict, minProperties: 1 }) }, strict);
const update343 = Type.Object(
  { backup: Type.Object({ ...updateFields, metadata: Type.Optional(metadata) }, { ...strict, minProperties: 1 }) },
  strict,
);

export function updateSchema(microversion: Microversion): typeof update343 {
  return (microversion.atLeast(3, 43) ? update343 : update) as typeof update343;
}

export const restoreSchema = Type.Object(
  { restore: Type.Object({ volume_id: Type.Optional(uuidOrNull), name: Type.Optional(nameOrNull) }, strict) },
  strict,
);

export const importSchema = Type.Object(
  { 'backup-record': Type.Object({ backup_service: text(255, 1), backup_url: Type.String({ minLength: 1 }) }, strict) },
  strict,
);

export const resetStatusSchema = Type.Object({ 'os-reset_status': Type.Object({ status: text(255, 1) }, strict) }, strict);

export const forceDeleteSchema = Type.Object({ 'os-force_delete': Type.Union([Type.Object({}), Type.Null()]) }, strict);
