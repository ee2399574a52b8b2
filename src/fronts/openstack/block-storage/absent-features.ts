/**
 * What a deployment like ours does not have: clusters of services, work to clean up after other hosts, and the consistency groups that groups
 * took the place of. Answered as by a deployment that could have them, and has none.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { authorise } from '../../../cloud/identity/policy.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import type { BlockStorageFront } from './context.ts';
import { since } from './since.ts';

const clusters = since(7);
const cleanup = since(24);

export function registerAbsentFeatureRoutes(app: FastifyInstance, _front: BlockStorageFront): void {
  registerClusters(app);
  registerConsistencyGroups(app);
}

function registerClusters(app: FastifyInstance): void {
  const mayLook = (request: FastifyRequest): void => {
    authorise(request.caller, 'service:list', { projectId: null });
  };
  for (const path of ['/clusters', '/clusters/detail']) {
    app.get(path, clusters, async (request) => {
      mayLook(request);
      return { clusters: [] };
    });
  }
  app.get<{ Params: { name: string } }>('/clusters/:name', clusters, async (request) => {
    mayLook(request);
    throw noCluster(request.params.name);
  });
  app.put<{ Params: { change: string } }>('/clusters/:change', clusters, async (request) => {
    authorise(request.caller, 'service:change', { projectId: null });
    if (!['enable', 'disable'].includes(request.params.change)) throw notFound('Unknown action');
    const name = nameIn(request.body);
    if (name === undefined) throw badRequest("Invalid input for field/attribute name. 'name' is a required property");
    throw noCluster(name);
  });
  app.post('/workers/cleanup', cleanup, async (request, reply) => {
    authorise(request.caller, 'service:change', { projectId: null });
    return reply.code(202).send({ cleaning: [], unavailable: [] });
  });
}

const noCluster = (name: string) => notFound(`Cluster ${name} could not be found.`);

function nameIn(body: unknown): string | undefined {
  const name = typeof body === 'object' && body !== null && 'name' in body ? body.name : undefined;
  return typeof name === 'string' ? name : undefined;
}

/** Clients list them beside everything else that a project has. */
function registerConsistencyGroups(app: FastifyInstance): void {
  const kinds = { consistencygroups: 'ConsistencyGroup', cgsnapshots: 'CgSnapshot' };
  for (const [collection, name] of Object.entries(kinds)) {
    const missing = (request: FastifyRequest<{ Params: { id: string } }>): never => {
      mayRead(request);
      throw notFound(`${name} ${request.params.id} could not be found.`);
    };
    for (const path of [`/${collection}`, `/${collection}/detail`]) {
      app.get(path, async (request) => {
        mayRead(request);
        return { [collection]: [] };
      });
    }
    app.get<{ Params: { id: string } }>(`/${collection}/:id`, async (request) => missing(request));
    app.delete<{ Params: { id: string } }>(`/${collection}/:id`, async (request) => missing(request));
    app.post(`/${collection}`, async (request) => {
      mayCreate(request);
      throw badRequest('Invalid volume type: consistency groups have no group type here; use groups.');
    });
  }
  app.post('/consistencygroups/create_from_src', async (request) => {
    mayCreate(request);
    throw badRequest('Invalid volume type: consistency groups have no group type here; use groups.');
  });
  for (const change of ['delete', 'update'] as const) {
    const verb = change === 'delete' ? 'post' : 'put';
    app[verb]<{ Params: { id: string } }>(`/consistencygroups/:id/${change}`, async (request) => {
      mayRead(request);
      throw notFound(`ConsistencyGroup ${request.params.id} could not be found.`);
    });
  }
}

const mayRead = ({ caller }: FastifyRequest): void => authorise(caller, 'group:list', { projectId: caller.projectId });
const mayCreate = ({ caller }: FastifyRequest): void => authorise(caller, 'group:create', { projectId: caller.projectId });
