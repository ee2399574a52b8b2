/** `/backups`: the routes of backups below `/v3` and `/v3/{project_id}`. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { BackupsService } from '../../../cloud/backups/service.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { parseBody, parseBoolean, stripped } from '../shared/body.ts';
import { publicBase, selfAndBookmark } from '../shared/links.ts';
import { nextLinks, queryOf } from '../shared/paging.ts';
import {
  type CreateBody,
  createSchema,
  forceDeleteSchema,
  importSchema,
  resetStatusSchema,
  restoreSchema,
  updateSchema,
} from './backup-bodies.ts';
import { parseBackupList } from './backup-list-query.ts';
import { type BackupViewer, backupDetail, backupSummary } from './backup-view.ts';

export interface BackupRoutesDeps {
  readonly backups: BackupsService;
  readonly publicUrl: string | undefined;
}

type WithId = { Params: { id: string } };

const actions = { 'os-reset_status': true, 'os-force_delete': true };

export function registerBackupRoutes(app: FastifyInstance, deps: BackupRoutesDeps): void {
  const { backups } = deps;

  const viewerOf = (request: FastifyRequest): BackupViewer => ({
    caller: request.caller,
    microversion: request.microversion,
    linksTo: (id) => selfAndBookmark(`${publicBase(request, deps.publicUrl)}/volume`, 'v3', request.caller.projectId ?? '', 'backups', id),
  });

  app.get('/backups', (request) => list(request, backupSummary));
  app.get('/backups/detail', (request) => list(request, backupDetail));

  async function list(request: FastifyRequest, view: typeof backupDetail): Promise<unknown> {
    const order = parseBackupList(queryOf(request), request.caller, request.microversion);
    const page = order === undefined ? { backups: [] } : await backups.list(request.caller, order);
    const count = 'count' in page ? page.count : undefined;
    const itemIds = page.backups.map(({ id }) => id);
    const links =
      order === undefined ? undefined : nextLinks(request, { publicUrl: deps.publicUrl, limit: order.limit, itemIds, total: count });
    return {
      backups: page.backups.map((backup) => view(backup, viewerOf(request))),
      ...(links === undefined ? {} : { backups_links: links }),
      ...(count === undefined ? {} : { count }),
    };
  }

  app.get<WithId>('/backups/:id/export_record', async ({ caller, params }) => {
    const { service, url } = await backups.exportRecord(caller, params.id);
    return { 'backup-record': { backup_service: service, backup_url: url } };
  });
  app.post('/backups/import_record', async (request, reply) => {
    const { 'backup-record': record } = parseBody(importSchema, request.body);
    const backup = await backups.importRecord(request.caller, { service: record.backup_service, url: record.backup_url });
    return reply.code(201).send({ backup: backupSummary(backup, viewerOf(request)) });
  });

  app.get<WithId>('/backups/:id', async (request) => ({
    backup: backupDetail(await backups.get(request.caller, request.params.id), viewerOf(request)),
  }));

  app.post('/backups', async (request, reply) => {
    const { backup: asked } = parseBody(createSchema(request.microversion), request.body);
    const backup = await backups.create(request.caller, createOrder(asked));
    return reply.code(202).send({ backup: backupSummary(backup, viewerOf(request)) });
  });

  app.put<WithId>('/backups/:id', async (request) => {
    if (!request.microversion.atLeast(3, 9)) throw notFound('The resource could not be found.');
    const { backup: asked } = parseBody(updateSchema(request.microversion), request.body);
    const backup = await backups.update(request.caller, request.params.id, {
      ...(asked.name === undefined ? {} : { name: stripped(asked.name) }),
      ...(asked.description === undefined ? {} : { description: stripped(asked.description) }),
      ...(asked.metadata === undefined ? {} : { metadata: asked.metadata }),
    });
    return { backup: backupSummary(backup, viewerOf(request)) };
  });

  app.delete<WithId>('/backups/:id', async (request, reply) => {
    await backups.delete(request.caller, request.params.id);
    return reply.code(202).send();
  });

  app.post<WithId>('/backups/:id/restore', async (request, reply) => {
    const { restore: asked } = parseBody(restoreSchema, request.body);
    const order = { volumeId: asked.volume_id ?? null, name: stripped(asked.name ?? null) };
    const restore = await backups.restore(request.caller, request.params.id, order);
    return reply.code(202).send({ restore: { backup_id: restore.backupId, volume_id: restore.volumeId, volume_name: restore.volumeName } });
  });

  app.post<WithId>('/backups/:id/action', taking(actions), async (request, reply) => {
    await act(backups, request);
    return reply.code(202).send();
  });
}

function createOrder(asked: CreateBody['backup']) {
  const given = Object.entries(asked.metadata ?? {}).filter((entry): entry is [string, string] => entry[1] !== null);
  return {
    volumeId: asked.volume_id,
    snapshotId: asked.snapshot_id ?? null,
    name: stripped(asked.name ?? null),
    description: stripped(asked.description ?? null),
    container: asked.container || null,
    incremental: parseBoolean(asked.incremental) === true,
    force: parseBoolean(asked.force) === true,
    metadata: Object.fromEntries(given),
    availabilityZone: asked.availability_zone || null,
  };
}

const resetStatuses = ['available', 'error'] as const;

async function act(backups: BackupsService, request: FastifyRequest<WithId>): Promise<void> {
  const { caller, body, params } = request;
  switch (actionIn(body, actions).name) {
    case 'os-reset_status': {
      const asked = parseBody(resetStatusSchema, body)['os-reset_status'].status;
      const status = resetStatuses.find((item) => item === asked);
      if (status === undefined) {
        throw badRequest(`Invalid input received: Backup status: ${asked} is invalid, valid statuses are ${resetStatuses.join(', ')}.`);
      }
      await backups.resetStatus(caller, params.id, status);
      return;
    }
    case 'os-force_delete':
      parseBody(forceDeleteSchema, body);
      await backups.forceDelete(caller, params.id);
  }
}
