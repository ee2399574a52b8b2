/** `/types/{id}/encryption`: how disks of a type are to be encrypted. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { Encryption } from '../../../cloud/volume-types/service.ts';
import { notFound } from '../../../lib/errors.ts';
import { parseBody, text } from '../shared/body.ts';
import type { BlockStorageFront } from './context.ts';

type WithId = { Params: { id: string } };
type WithKey = { Params: { id: string; key: string } };

const strict = { additionalProperties: false };
const location = Type.Union([Type.Literal('front-end'), Type.Literal('back-end')]);
const lengths = {
  cipher: Type.Union([text(255), Type.Null()]),
  key_size: Type.Union([Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), Type.Null()]),
};
const optional = { cipher: Type.Optional(lengths.cipher), key_size: Type.Optional(lengths.key_size) };
const create = Type.Object(
  { encryption: Type.Object({ provider: text(255, 1), control_location: location, ...optional }, strict) },
  strict,
);
const update = Type.Object(
  { encryption: Type.Object({ provider: Type.Optional(text(255, 1)), control_location: Type.Optional(location), ...optional }, strict) },
  strict,
);

export function registerTypeEncryptionRoutes(app: FastifyInstance, { volumeTypes }: BlockStorageFront): void {
  app.get<WithId>('/types/:id/encryption', async ({ caller, params }) => {
    const encryption = await volumeTypes.encryptionOf(caller, params.id);
    return encryption === undefined ? {} : encryptionView(encryption);
  });
  app.get<WithKey>('/types/:id/encryption/:key', async ({ caller, params }) => {
    const encryption = await volumeTypes.encryptionOf(caller, params.id);
    const view: Record<string, unknown> = encryption === undefined ? {} : encryptionView(encryption);
    if (!Object.hasOwn(view, params.key)) throw notFound('The resource could not be found.');
    return { [params.key]: view[params.key] };
  });
  app.post<WithId>('/types/:id/encryption', async ({ caller, params, body }) => {
    const { encryption: asked } = parseBody(create, body);
    const made = await volumeTypes.createEncryption(caller, params.id, {
      provider: asked.provider,
      controlLocation: asked.control_location,
      cipher: asked.cipher ?? null,
      keySize: asked.key_size ?? null,
    });
    return { encryption: { ...asked, volume_type_id: made.volumeTypeId, encryption_id: made.encryptionId } };
  });
  // A type has one at most: clients write its id, or the word `provider`, behind it.
  app.put<WithKey>('/types/:id/encryption/:key', async ({ caller, params, body }) => {
    const { encryption: asked } = parseBody(update, body);
    await volumeTypes.updateEncryption(caller, params.id, {
      ...(asked.provider !== undefined && { provider: asked.provider }),
      ...(asked.control_location !== undefined && { controlLocation: asked.control_location }),
      ...(asked.cipher !== undefined && { cipher: asked.cipher }),
      ...(asked.key_size !== undefined && { keySize: asked.key_size }),
    });
    return { encryption: asked };
  });
  app.delete<WithKey>('/types/:id/encryption/:key', async ({ caller, params }, reply) => {
    await volumeTypes.deleteEncryption(caller, params.id);
    return reply.code(202).send();
  });
}

const encryptionView = (encryption: Encryption): Record<string, unknown> => ({
  volume_type_id: encryption.volumeTypeId,
  encryption_id: encryption.encryptionId,
  provider: encryption.provider,
  control_location: encryption.controlLocation,
  cipher: encryption.cipher,
  key_size: encryption.keySize,
  created_at: encryption.createdAt,
  updated_at: encryption.updatedAt,
  deleted: false,
  deleted_at: null,
});
