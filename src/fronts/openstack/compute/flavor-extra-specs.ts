/** `/flavors/{id}/os-extra_specs`: what a flavor asks for beside sizes. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { parseBody } from '../shared/body.ts';
import { specsOrNumbers } from '../shared/spec-bodies.ts';
import type { ComputeFront } from './context.ts';

type WithId = { Params: { id: string } };
type WithKey = { Params: { id: string; key: string } };

const create = Type.Object({ extra_specs: specsOrNumbers }, { additionalProperties: false });

const asTexts = (specs: Readonly<Record<string, string | number>>): Record<string, string> =>
  Object.fromEntries(Object.entries(specs).map(([key, value]) => [key, String(value)]));

export function registerFlavorExtraSpecRoutes(app: FastifyInstance, { flavors }: ComputeFront): void {
  app.get<WithId>('/flavors/:id/os-extra_specs', async ({ caller, params }) => ({
    extra_specs: (await flavors.get(caller, params.id)).extraSpecs,
  }));
  app.post<WithId>('/flavors/:id/os-extra_specs', async ({ caller, params, body }) => {
    const specs = asTexts(parseBody(create, body).extra_specs);
    await flavors.mergeSpecs(caller, params.id, specs);
    return { extra_specs: specs };
  });
  app.get<WithKey>('/flavors/:id/os-extra_specs/:key', async ({ caller, params: { id, key } }) => {
    const { extraSpecs } = await flavors.get(caller, id);
    if (!Object.hasOwn(extraSpecs, key)) throw notFound(`Flavor ${id} has no extra specs with key ${key}.`);
    return { [key]: extraSpecs[key] };
  });
  app.put<WithKey>('/flavors/:id/os-extra_specs/:key', async ({ caller, params: { id, key }, body }) => {
    const specs = asTexts(parseBody(specsOrNumbers, body));
    if (Object.keys(specs).length > 1) throw badRequest('Request body contains too many items');
    if (!Object.hasOwn(specs, key)) throw badRequest('Request body and URI mismatch');
    await flavors.mergeSpecs(caller, id, specs);
    return specs;
  });
  app.delete<WithKey>('/flavors/:id/os-extra_specs/:key', async ({ caller, params: { id, key } }, reply) => {
    await flavors.removeSpec(caller, id, key);
    return reply.code(200).send();
  });
}
