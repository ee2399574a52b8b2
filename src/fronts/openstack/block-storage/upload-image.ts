/** The action `os-volume_upload_image`: an image made of a volume. */
import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { booleanLike, parseBody, parseBoolean, stripped, text } from '../shared/body.ts';
import type { Microversion } from '../shared/microversion.ts';
import type { BlockStorageFront } from './context.ts';

const strict = { additionalProperties: false };
const formats = ['raw', 'vmdk', 'vdi', 'qcow2', 'vhd', 'vhdx', 'ploop'] as const;
const containers = ['ami', 'ari', 'aki', 'bare', 'ovf', 'ova', 'docker', 'compressed'] as const;
const oneOf = (names: readonly string[]) =>
  Type.Refine(
    Type.String(),
    (name) => names.includes(name),
    () => `{value} is not one of ${names.join(', ')}`,
  );

const fields = {
  image_name: text(255, 1),
  force: Type.Optional(Type.Union([booleanLike, Type.Null()])),
  disk_format: Type.Optional(oneOf(formats)),
  container_format: Type.Optional(oneOf(containers)),
};
const schema = Type.Object(fields, strict);
const schema31 = Type.Object(
  {
    ...fields,
    visibility: Type.Optional(
      Type.Union([Type.Literal('community'), Type.Literal('public'), Type.Literal('private'), Type.Literal('shared')]),
    ),
    protected: Type.Optional(booleanLike),
  },
  strict,
);
const schemaOf = (microversion: Microversion): typeof schema31 => (microversion.atLeast(3, 1) ? schema31 : (schema as typeof schema31));

export async function uploadImage(
  { volumeImages }: BlockStorageFront,
  { caller, params, microversion }: FastifyRequest<{ Params: { id: string } }>,
  argument: unknown,
): Promise<{ code: 202; body: unknown }> {
  const asked = parseBody(schemaOf(microversion), argument);
  const isNew = microversion.atLeast(3, 1);
  const { volume, type, image } = await volumeImages.create(caller, {
    volumeId: params.id,
    name: stripped(asked.image_name),
    diskFormat: asked.disk_format ?? 'raw',
    containerFormat: asked.container_format ?? 'bare',
    visibility: asked.visibility ?? 'private',
    protected: parseBoolean(asked.protected) === true,
  });
  const body = {
    id: volume.id,
    updated_at: volume.updatedAt,
    status: volume.status,
    display_description: volume.description,
    size: volume.sizeGib,
    volume_type: {
      id: type.id,
      name: type.name,
      description: type.description,
      is_public: type.isPublic,
      extra_specs: type.extraSpecs,
      qos_specs_id: type.qosSpecsId,
      created_at: null,
      updated_at: null,
      deleted: false,
      deleted_at: null,
    },
    image_id: image.id,
    container_format: image.containerFormat,
    disk_format: image.diskFormat,
    image_name: image.name,
    ...(isNew ? { visibility: image.visibility, protected: image.protected } : { is_public: false }),
  };
  return { code: 202, body: { 'os-volume_upload_image': body } };
}
