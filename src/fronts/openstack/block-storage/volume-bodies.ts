/** What the bodies of volume requests may hold. Below 3.53 clients send much that is not named here, and it is let through. */
import Type, { type TSchema } from 'typebox';
import { booleanLike, metadata, metadataWithNulls, nameOrNull, text, uuid } from '../shared/body.ts';
import type { Microversion } from '../shared/microversion.ts';

const strict = { additionalProperties: false };
const optional = <S extends TSchema>(schema: S) => Type.Optional(Type.Union([schema, Type.Null()]));

const digits = Type.String({ pattern: '^[0-9]{1,10}$' });
const size = Type.Union([Type.Integer({ minimum: 1 }), digits]);

const names = {
  name: Type.Optional(nameOrNull),
  display_name: Type.Optional(nameOrNull),
  description: Type.Optional(nameOrNull),
  display_description: Type.Optional(nameOrNull),
};

const createFields = {
  ...names,
  size: optional(size),
  volume_type: optional(text(255)),
  availability_zone: optional(text(255)),
  metadata: optional(metadataWithNulls),
  snapshot_id: optional(uuid),
  source_volid: optional(uuid),
  imageRef: optional(text(255)),
  image_id: optional(text(255)),
  consistencygroup_id: optional(uuid),
  multiattach: optional(booleanLike),
};
const createFields313 = { ...createFields, group_id: optional(uuid) };
const lateFields = { ...createFields313, backup_id: optional(uuid) };

const hints = { 'OS-SCH-HNT:scheduler_hints': optional(Type.Object({})) };
const create = Type.Object({ volume: Type.Object(createFields), ...hints });
const create313 = Type.Object({ volume: Type.Object(createFields313), ...hints });
const create347 = Type.Object({ volume: Type.Object(lateFields), ...hints });
const create353 = Type.Object({ volume: Type.Object(lateFields, strict), ...hints }, strict);

/** The widest shape covers the others. */
export type CreateVolumeBody = Type.Static<typeof create353>;

export function createSchema(microversion: Microversion): typeof create353 {
  if (microversion.atLeast(3, 53)) return create353;
  if (microversion.atLeast(3, 47)) return create347 as typeof create353;
  return (microversion.atLeast(3, 13) ? create313 : create) as typeof create353;
}

const updateFields = { ...names, metadata: Type.Optional(metadata) };
const update = Type.Object({ volume: Type.Object(updateFields) });
const update353 = Type.Object({ volume: Type.Object(updateFields, { ...strict, minProperties: 1 }) }, strict);

export function updateSchema(microversion: Microversion): typeof update353 {
  return (microversion.atLeast(3, 53) ? update353 : update) as typeof update353;
}

/** A name counts before its old alias. Undefined: not given. */
export function given<T>(value: T | undefined, alias: T | undefined): T | undefined {
  return value === undefined ? alias : value;
}

export const metadataSchema = Type.Object({ metadata }, strict);
export const metaSchema = Type.Object({ meta: metadata }, strict);

export const actionSchemas = {
  'os-attach': Type.Object({
    instance_uuid: optional(uuid),
    host_name: optional(text(255)),
    mountpoint: optional(text(255)),
    mode: optional(Type.Union([Type.Literal('rw'), Type.Literal('ro')])),
  }),
  'os-detach': Type.Union([Type.Object({ attachment_id: optional(uuid) }), Type.Null()]),
  'os-force_detach': Type.Object({ attachment_id: optional(uuid), connector: optional(Type.Object({})) }),
  'os-initialize_connection': Type.Object({ connector: Type.Object({ mode: Type.Optional(Type.Unknown()) }) }),
  'os-terminate_connection': Type.Object({ connector: optional(Type.Object({})) }),
  'os-extend': Type.Object({ new_size: size }, strict),
  revert: Type.Object({ snapshot_id: uuid }, strict),
  'os-reimage': Type.Object({ image_id: uuid, reimage_reserved: optional(booleanLike) }, strict),
  'os-reset_status': Type.Object(
    {
      status: optional(text(255, 1)),
      attach_status: optional(Type.Union([Type.Literal('attached'), Type.Literal('detached')])),
      migration_status: optional(text(255)),
    },
    { ...strict, minProperties: 1 },
  ),
  'os-retype': Type.Object(
    { new_type: text(255, 1), migration_policy: optional(Type.Union([Type.Literal('never'), Type.Literal('on-demand')])) },
    strict,
  ),
  'os-migrate_volume': Type.Object({
    host: optional(text(255)),
    cluster: optional(text(255)),
    force_host_copy: optional(booleanLike),
    lock_volume: optional(booleanLike),
  }),
  'os-set_bootable': Type.Object({ bootable: booleanLike }, strict),
  'os-update_readonly_flag': Type.Object({ readonly: booleanLike }, strict),
  'os-set_image_metadata': Type.Object({ metadata }, strict),
  'os-unset_image_metadata': Type.Object({ key: text(255, 1) }, strict),
} as const;
