/** `/attachments`, from 3.27 on: attachments as things of their own. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';

import { type Attachment, attachmentColumns } from '../../../cloud/volumes/contract.ts';
import type { Connector } from '../../../cloud/volumes/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { parseBody, text, uuid } from '../shared/body.ts';
import type { Microversion } from '../shared/microversion.ts';
import { nextLinks, queryOf } from '../shared/paging.ts';
import { connectionData, driverVolumeType } from './connection-info.ts';
import type { BlockStorageFront } from './context.ts';
import { type ListRules, parseList } from './list-query.ts';
import { resourceFilters } from './resource-filters.ts';
import { since } from './since.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const connectorSchema = Type.Object({
  host: Type.Optional(Type.Union([text(255), Type.Null()])),
  mountpoint: Type.Optional(Type.Union([text(255), Type.Null()])),
  mode: Type.Optional(Type.Unknown()),
});
const mode = Type.Optional(Type.Union([Type.Literal('rw'), Type.Literal('ro')]));
const createFields = {
  volume_uuid: uuid,
  instance_uuid: Type.Optional(Type.Union([uuid, Type.Null()])),
  connector: Type.Optional(Type.Union([connectorSchema, Type.Null()])),
};
const create = Type.Object({ attachment: Type.Object(createFields, strict) }, strict);
const create354 = Type.Object({ attachment: Type.Object({ ...createFields, mode }, strict) }, strict);
const updateFields = { connector: Type.Object(connectorSchema.properties, { minProperties: 1 }) };
const update = Type.Object({ attachment: Type.Object(updateFields, strict) }, strict);
const update354 = Type.Object({ attachment: Type.Object({ ...updateFields, mode }, strict) }, strict);

const createSchema = (version: Microversion): typeof create354 => (version.atLeast(3, 54) ? create354 : (create as typeof create354));
const updateSchema = (version: Microversion): typeof update354 => (version.atLeast(3, 54) ? update354 : (update as typeof update354));

const listRules: ListRules<keyof typeof attachmentColumns> = {
  columns: attachmentColumns,
  aliases: { status: 'attach_status', instance_uuid: 'instance_id' },
  commonFilters: resourceFilters.attachment,
  constants: {},
  sortByNameSince: 0,
};

const actions = { 'os-complete': true };

export function registerAttachmentRoutes(app: FastifyInstance, { volumes, publicUrl }: BlockStorageFront): void {
  const { attachments } = volumes;
  app.get('/attachments', since(27), (request) => list(request, summary));
  app.get('/attachments/detail', since(27), (request) => list(request, detail));

  async function list(request: FastifyRequest, view: typeof summary): Promise<unknown> {
    const order = parseList(queryOf(request), request, listRules);
    if (order === undefined) return { attachments: [] };
    const found = await attachments.list(request.caller, order);
    const links = nextLinks(request, { publicUrl, limit: order.limit, itemIds: found.map(({ id }) => id) });
    return { attachments: found.map(view), ...(links === undefined ? {} : { attachments_links: links }) };
  }

  app.get<WithId>('/attachments/:id', since(27), async ({ caller, params }) => ({
    attachment: detail(await attachments.get(caller, params.id)),
  }));
  app.post('/attachments', since(27), async (request) => {
    const { attachment: asked } = parseBody(createSchema(request.microversion), request.body);
    const { volume_uuid: volumeId, instance_uuid: instanceId = null, connector = null } = asked;
    const order = { volumeId, instanceId, mode: asked.mode ?? null, connector: hasSome(connector) ? connectorOf(connector) : null };
    return { attachment: detail(await attachments.create(request.caller, order, describe)) };
  });
  app.put<WithId>('/attachments/:id', since(27), async (request) => {
    const { attachment: asked } = parseBody(updateSchema(request.microversion), request.body);
    const connector = connectorOf(asked.connector);
    const changed = await attachments.connect(
      request.caller,
      request.params.id,
      { ...connector, mode: asked.mode ?? connector.mode },
      describe,
    );
    return { attachment: detail(changed) };
  });
  app.post<WithId>('/attachments/:id/action', { ...since(44), ...taking(actions) }, async ({ caller, params, body }, reply) => {
    actionIn(body, actions);
    await attachments.complete(caller, params.id);
    return reply.code(204).send();
  });
  app.delete<WithId>('/attachments/:id', since(27), async ({ caller, params }) => ({
    attachments: (await attachments.remove(caller, params.id)).map(summary),
  }));
}

const hasSome = <T extends object>(connector: T | null): connector is T => connector !== null && Object.keys(connector).length > 0;

function connectorOf(given: { host?: string | null; mountpoint?: string | null; mode?: unknown }): Connector {
  const { host = null, mountpoint = null, mode: wanted = null } = given;
  if (wanted !== null && wanted !== 'rw' && wanted !== 'ro') {
    throw badRequest(
      `Invalid input received: Invalid attaching mode '${typeof wanted === 'string' ? wanted : JSON.stringify(wanted)}' in the connector.`,
    );
  }
  return { host, mountpoint, mode: wanted };
}

/** Flat, as attachments have it: what is apart in `os-initialize_connection` lies side by side here. */
const describe: Parameters<BlockStorageFront['volumes']['attachments']['connect']>[3] = (volumeId, attachmentId, connection) => ({
  driver_volume_type: driverVolumeType,
  ...connectionData(volumeId, connection),
  attachment_id: attachmentId,
});

function summary({ id, status, instanceId, volumeId }: Attachment): Record<string, unknown> {
  return { id, status, instance: instanceId, volume_id: volumeId };
}

function detail(attachment: Attachment): Record<string, unknown> {
  return {
    ...summary(attachment),
    attached_at: attachment.attachedAt ?? '',
    detached_at: '',
    attach_mode: attachment.mode,
    connection_info: attachment.connectionInfo,
  };
}
