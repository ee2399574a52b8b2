/** The five routes that most resources of Identity have: list, show, create, change, delete. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ValidToken } from '../../../cloud/identity/token.ts';
import { type Query, queryOf } from '../shared/paging.ts';
import { collection, type IdentityFront } from './context.ts';

export interface Resource<Item> {
  /** `/groups` */
  readonly path: string;
  /** The keys of the envelopes. */
  readonly singular: string;
  readonly plural: string;
  readonly view: (item: Item, request: FastifyRequest) => object;
  readonly list: (token: ValidToken, query: Query) => Promise<readonly Item[]>;
  readonly get: (token: ValidToken, id: string) => Promise<Item>;
  /** Read and check the body themselves. */
  readonly create?: (token: ValidToken, body: unknown) => Promise<Item>;
  readonly update?: (token: ValidToken, id: string, body: unknown) => Promise<Item>;
  readonly delete: (token: ValidToken, id: string) => Promise<void>;
}

type ById = { Params: { id: string } };

export function resourceRoutes<Item>(app: FastifyInstance, front: IdentityFront, resource: Resource<Item>): void {
  const { path, singular, plural, view, create, update } = resource;
  const one = (item: Item, request: FastifyRequest) => ({ [singular]: view(item, request) });

  app.get(path, async (request) => {
    const found = await resource.list(request.token, queryOf(request));
    return collection(
      request,
      front,
      plural,
      found.map((item) => view(item, request)),
    );
  });
  app.get<ById>(`${path}/:id`, async (request) => one(await resource.get(request.token, request.params.id), request));
  if (create !== undefined) {
    app.post(path, async (request, reply) => {
      const item = await create(request.token, request.body);
      reply.code(201);
      return one(item, request);
    });
  }
  if (update !== undefined) {
    app.patch<ById>(`${path}/:id`, async (request) => one(await update(request.token, request.params.id, request.body), request));
  }
  app.delete<ById>(`${path}/:id`, async (request, reply) => {
    await resource.delete(request.token, request.params.id);
    return reply.code(204).send();
  });
}
