/** `/snapshots`: the routes of snapshots below `/v3` and `/v3/{project_id}`. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { snapshotColumns } from '../../../cloud/snapshots/contract.ts';
import type { SnapshotsService } from '../../../cloud/snapshots/service.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { booleanLike, metadataWithNulls, nameOrNull, parseBody, parseBoolean, stripped, text, uuid } from '../shared/body.ts';
import { nextLinks, queryOf } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { registerMetadataRoutes } from './metadata.ts';
import { resourceFilters } from './resource-filters.ts';
import { snapshotView, type Where } from './snapshot-view.ts';
import { given } from './volume-bodies.ts';

type WithId = { Params: { id: string } };

const names = {
  name: Type.Optional(nameOrNull),
  display_name: Type.Optional(nameOrNull),
  description: Type.Optional(nameOrNull),
  display_description: Type.Optional(nameOrNull),
};
const createSchema = Type.Object({
  snapshot: Type.Object({
    ...names,
    volume_id: Type.Union([uuid, Type.Null()]),
    force: Type.Optional(Type.Union([booleanLike, Type.Null()])),
    metadata: Type.Optional(Type.Union([metadataWithNulls, Type.Null()])),
  }),
});
const updateSchema = Type.Object({ snapshot: Type.Object(names, { minProperties: 1 }) });
const resetSchema = Type.Object({ status: text(255, 1) }, { additionalProperties: false });
const reportSchema = Type.Object({
  status: text(255, 1),
  progress: Type.Optional(Type.Union([Type.String({ pattern: '^([0-9]|[1-9][0-9]|100)%$' }), Type.Null()])),
});

const listRules: ListRules<keyof typeof snapshotColumns> = {
  columns: snapshotColumns,
  aliases: { display_name: 'name', display_description: 'description', volume_size: 'size' },
  commonFilters: resourceFilters.snapshot,
  constants: { consumes_quota: 'true', availability_zone: 'nova' },
  sortByNameSince: 30,
};

const actions = { 'os-reset_status': true, 'os-force_delete': true, 'os-update_snapshot_status': true, 'os-unmanage': true };

export function registerSnapshotRoutes(app: FastifyInstance, { snapshots, publicUrl }: BlockStorageFront): void {
  app.get('/snapshots', (request) => list(request, 'summary'));
  app.get('/snapshots/detail', (request) => list(request, 'shown'));

  async function list(request: FastifyRequest, where: Where): Promise<unknown> {
    const order = parseList(queryOf(request), request, listRules);
    const page = order === undefined ? { snapshots: [] } : await snapshots.list(request.caller, order);
    const count = 'count' in page ? page.count : undefined;
    const itemIds = page.snapshots.map(({ id }) => id);
    const links = order === undefined ? undefined : nextLinks(request, { publicUrl, limit: order.limit, itemIds, total: count });
    return {
      snapshots: page.snapshots.map((snapshot) => snapshotView(snapshot, request.microversion, where)),
      ...(links === undefined ? {} : { snapshots_links: links }),
      ...(count === undefined ? {} : { count }),
    };
  }

  app.get<WithId>('/snapshots/:id', async (request) => {
    const snapshot = await snapshots.get(request.caller, request.params.id);
    return { snapshot: snapshotView(snapshot, request.microversion, 'shown') };
  });

  app.post('/snapshots', async (request, reply) => {
    const { snapshot: asked } = parseBody(createSchema, request.body);
    // No volume: the original looks for that one, too.
    if (asked.volume_id === null) throw notFound('Volume None could not be found.');
    const pairs = Object.entries(asked.metadata ?? {}).filter((entry): entry is [string, string] => entry[1] !== null);
    const snapshot = await snapshots.create(request.caller, {
      volumeId: asked.volume_id,
      name: stripped(given(asked.name, asked.display_name) ?? null),
      description: stripped(given(asked.description, asked.display_description) ?? null),
      metadata: Object.fromEntries(pairs),
      inUse: mayBeInUse(request, asked.force),
    });
    return reply.code(202).send({ snapshot: snapshotView(snapshot, request.microversion, 'created') });
  });

  app.put<WithId>('/snapshots/:id', async (request) => {
    const { snapshot: asked } = parseBody(updateSchema, request.body);
    const name = given(asked.name, asked.display_name);
    const description = given(asked.description, asked.display_description);
    const snapshot = await snapshots.update(request.caller, request.params.id, {
      ...(name === undefined ? {} : { name: stripped(name) }),
      ...(description === undefined ? {} : { description: stripped(description) }),
    });
    return { snapshot: snapshotView(snapshot, request.microversion, 'created') };
  });

  app.delete<WithId>('/snapshots/:id', async (request, reply) => {
    await snapshots.delete(request.caller, request.params.id);
    return reply.code(202).send();
  });

  registerMetadataRoutes(app, '/snapshots', {
    metadataOf: async (caller, id) => (await snapshots.get(caller, id)).metadata,
    change: snapshots.changeMetadata,
  });

  app.post<WithId>('/snapshots/:id/action', taking(actions), async (request, reply) => {
    await act(snapshots, request);
    return reply.code(202).send();
  });
}

/** From 3.66 on a volume in use needs no flag, and saying no to it is refused. */
function mayBeInUse({ microversion }: FastifyRequest, force: unknown): boolean {
  const forced = parseBoolean(force);
  if (!microversion.atLeast(3, 66)) return forced === true;
  if (forced === false) {
    throw badRequest(
      "Invalid input received: From microversion 3.66 on a snapshot of a volume in use needs no 'force', and cannot be asked for without it.",
    );
  }
  return true;
}

async function act(snapshots: SnapshotsService, { caller, params, body }: FastifyRequest<WithId>): Promise<void> {
  const { name, argument } = actionIn(body, actions);
  switch (name) {
    case 'os-reset_status':
      await snapshots.resetStatus(caller, params.id, parseBody(resetSchema, argument).status);
      return;
    case 'os-force_delete':
      await snapshots.forceDelete(caller, params.id);
      return;
    case 'os-unmanage':
      await snapshots.unmanage(caller, params.id);
      return;
    case 'os-update_snapshot_status': {
      const { status, progress } = parseBody(reportSchema, argument);
      await snapshots.reportStatus(caller, params.id, status, progress ?? null);
      return;
    }
  }
}
