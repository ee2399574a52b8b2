/** `/types/{id}/extra_specs`. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { parseBody } from '../shared/body.ts';
import { specs } from '../shared/spec-bodies.ts';
import type { BlockStorageFront } from './context.ts';
import { seesAllOf, visibleSpecs } from './type-view.ts';

type WithId = { Params: { id: string } };
type WithKey = { Params: { id: string; key: string } };

const create = Type.Object({ extra_specs: specs }, { additionalProperties: false });

export function registerTypeExtraSpecRoutes(app: FastifyInstance, { volumeTypes }: BlockStorageFront): void {
  app.get<WithId>('/types/:id/extra_specs', async ({ caller, params }) => ({
    extra_specs: visibleSpecs(await volumeTypes.get(caller, params.id), seesAllOf(caller)),
  }));
  app.post<WithId>('/types/:id/extra_specs', async ({ caller, params, body }) => {
    const { extra_specs: asked } = parseBody(create, body);
    await volumeTypes.mergeSpecs(caller, params.id, asked);
    return { extra_specs: asked };
  });
  app.get<WithKey>('/types/:id/extra_specs/:key', async ({ caller, params }) => {
    const visible = visibleSpecs(await volumeTypes.get(caller, params.id), seesAllOf(caller));
    if (!Object.hasOwn(visible, params.key)) {
      throw notFound(`Volume Type ${params.id} has no extra specs with key ${params.key}.`);
    }
    return { [params.key]: visible[params.key] };
  });
  app.put<WithKey>('/types/:id/extra_specs/:key', async ({ caller, params, body }) => {
    const asked = parseBody(specs, body);
    if (!Object.hasOwn(asked, params.key)) throw badRequest('Request body and URI mismatch');
    if (Object.keys(asked).length > 1) throw badRequest('Request body contains too many items');
    await volumeTypes.mergeSpecs(caller, params.id, asked);
    return asked;
  });
  app.delete<WithKey>('/types/:id/extra_specs/:key', async ({ caller, params }, reply) => {
    await volumeTypes.removeSpec(caller, params.id, params.key);
    return reply.code(202).send();
  });
}
