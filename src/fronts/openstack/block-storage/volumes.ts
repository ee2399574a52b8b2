/** `/volumes`: the routes of volumes below `/v3` and `/v3/{project_id}`, actions apart. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type CreateVolumeOrder, type Volume, volumeColumns } from '../../../cloud/volumes/contract.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { parseBody, parseBoolean, stripped } from '../shared/body.ts';
import type { Microversion } from '../shared/microversion.ts';
import { nextLinks, queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { registerMetadataRoutes } from './metadata.ts';
import { resourceFilters } from './resource-filters.ts';
import { type Viewer, viewerOf } from './viewer.ts';
import { type CreateVolumeBody, createSchema, given, updateSchema } from './volume-bodies.ts';
import { volumeDetail, volumeSummary } from './volume-view.ts';

type WithId = { Params: { id: string } };

const listRules: ListRules<keyof typeof volumeColumns> = {
  columns: volumeColumns,
  aliases: { display_name: 'name', display_description: 'description', source_volid: 'source_volid' },
  commonFilters: resourceFilters.volume,
  constants: { consumes_quota: 'true', migration_status: 'none' },
  sortByNameSince: 0,
};

export function registerVolumeRoutes(app: FastifyInstance, front: BlockStorageFront): void {
  const { volumes, publicUrl } = front;
  const shown = (viewer: Viewer) => (volume: Parameters<typeof volumeDetail>[0]) => volumeDetail(volume, viewer, 'shown');
  const summary = (viewer: Viewer) => (volume: Parameters<typeof volumeDetail>[0]) => volumeSummary(volume, viewer);

  app.get('/volumes', (request) => list(request, summary));
  app.get('/volumes/detail', (request) => list(request, shown));

  async function list(request: FastifyRequest, view: typeof shown): Promise<unknown> {
    const order = parseList(queryOf(request), request, listRules);
    const page = order === undefined ? { volumes: [] } : await volumes.list(request.caller, order);
    const count = 'count' in page ? page.count : undefined;
    const itemIds = page.volumes.map(({ id }) => id);
    const links = order === undefined ? undefined : nextLinks(request, { publicUrl, limit: order.limit, itemIds, total: count });
    return {
      volumes: page.volumes.map(view(viewerOf(request, publicUrl))),
      ...(links === undefined ? {} : { volumes_links: links }),
      ...(count === undefined ? {} : { count }),
    };
  }

  app.get('/volumes/summary', async (request) => {
    if (!request.microversion.atLeast(3, 12)) throw notFound('The resource could not be found.');
    const allProjects = parseBoolean(queryValue(queryOf(request), 'all_tenants')) === true;
    const { count, sizeGib, metadata } = await volumes.summary(request.caller, { allProjects });
    const withMetadata = request.microversion.atLeast(3, 36) ? { metadata } : {};
    return { 'volume-summary': { total_count: count, total_size: sizeGib, ...withMetadata } };
  });

  app.get<WithId>('/volumes/:id', async (request) => ({
    volume: shown(viewerOf(request, publicUrl))(await volumes.get(request.caller, request.params.id)),
  }));

  app.post('/volumes', async (request, reply) => {
    const { volume: asked } = parseBody(createSchema(request.microversion), request.body);
    const volume = await create(request, asked);
    return reply.code(202).send({ volume: volumeDetail(volume, viewerOf(request, publicUrl), 'created') });
  });

  async function create({ caller, microversion }: FastifyRequest, asked: CreateVolumeBody['volume']): Promise<Volume> {
    const order = createOrder(asked, microversion);
    // Below 3.47 it is one of the many things that clients send without a meaning.
    const backupId = microversion.atLeast(3, 47) ? asked.backup_id : null;
    if (!backupId) return await volumes.create(caller, order);
    if (order.source.kind !== 'blank') throw severalSources();
    if (order.groupId != null) throw badRequest('Invalid input received: A volume from a backup cannot be made in a group.');
    return await front.backups.createVolume(caller, backupId, order);
  }

  app.put<WithId>('/volumes/:id', async (request) => {
    const { volume: asked } = parseBody(updateSchema(request.microversion), request.body);
    const name = given(asked.name, asked.display_name);
    const description = given(asked.description, asked.display_description);
    const volume = await volumes.update(request.caller, request.params.id, {
      ...(name === undefined ? {} : { name: stripped(name) }),
      ...(description === undefined ? {} : { description: stripped(description) }),
      ...(asked.metadata === undefined ? {} : { metadata: asked.metadata }),
    });
    return { volume: volumeDetail(volume, viewerOf(request, publicUrl), 'created') };
  });

  app.delete<WithId>('/volumes/:id', async (request, reply) => {
    const query = queryOf(request);
    const cascade = parseBoolean(queryValue(query, 'cascade')) === true;
    const force = request.microversion.atLeast(3, 23) && parseBoolean(queryValue(query, 'force')) === true;
    await volumes.delete(request.caller, request.params.id, { cascade, force });
    return reply.code(202).send();
  });

  registerMetadataRoutes(app, '/volumes', {
    metadataOf: async (caller, id) => (await volumes.get(caller, id)).metadata,
    change: volumes.changeMetadata,
    tagsSince: 15,
  });

  app.get<WithId>('/volumes/:id/encryption', async (request) => {
    await volumes.get(request.caller, request.params.id);
    return { encryption_key_id: null };
  });
  app.get<{ Params: { id: string; key: string } }>('/volumes/:id/encryption/:key', async (request, reply) => {
    await volumes.get(request.caller, request.params.id);
    return reply.type('text/plain').send('');
  });
}

function createOrder(asked: CreateVolumeBody['volume'], microversion: Microversion): CreateVolumeOrder {
  if (parseBoolean(asked.multiattach) === true) {
    throw badRequest('Invalid input received: multiattach is a property of volume types, and no type has it.');
  }
  const pairs = Object.entries(asked.metadata ?? {}).filter((entry): entry is [string, string] => entry[1] !== null);
  return {
    name: stripped(given(asked.name, asked.display_name) ?? null),
    description: stripped(given(asked.description, asked.display_description) ?? null),
    sizeGib: asked.size === undefined || asked.size === null ? null : Number(asked.size),
    volumeType: asked.volume_type || null,
    availabilityZone: asked.availability_zone || null,
    metadata: Object.fromEntries(pairs),
    // Before, nobody looks at it, or at what it is.
    groupId: (microversion.atLeast(3, 13) && asked.group_id) || null,
    source: sourceOf(asked),
  };
}

const severalSources = () => badRequest('May specify only one of snapshot, imageRef or source volume');

function sourceOf(asked: CreateVolumeBody['volume']): CreateVolumeOrder['source'] {
  const imageId = asked.imageRef || asked.image_id;
  if (asked.consistencygroup_id) throw notFound(`ConsistencyGroup ${asked.consistencygroup_id} could not be found.`);
  const sources: CreateVolumeOrder['source'][] = [];
  if (asked.snapshot_id) sources.push({ kind: 'snapshot', id: asked.snapshot_id });
  if (asked.source_volid) sources.push({ kind: 'volume', id: asked.source_volid });
  if (imageId) sources.push({ kind: 'image', id: imageId });
  const [source, ...others] = sources;
  if (others.length > 0) throw severalSources();
  return source ?? { kind: 'blank' };
}
