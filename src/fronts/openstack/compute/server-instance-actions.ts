/** `/servers/{id}/os-instance-actions`: what was asked of a server, and how it went; from 2.21 on also of servers that are gone. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import type { ServerAction } from '../../../cloud/servers/service.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { type Query, queryOf } from '../shared/paging.ts';
import type { ComputeFront } from './context.ts';
import { parsePage } from './list-query.ts';
import { isSince } from './microversions.ts';
import { parseTime } from './server-list-query.ts';
import { hostIdOf } from './server-view.ts';

type WithId = { Params: { id: string } };
type WithRequestId = { Params: { id: string; requestId: string } };

export function registerServerInstanceActions(app: FastifyInstance, { servers }: ComputeFront): void {
  const all = '/servers/:id/os-instance-actions';

  async function actionsFor(request: FastifyRequest<WithId>): Promise<ServerAction[]> {
    const { caller, params } = request;
    if (!isSince(request.microversion, 21)) await servers.get(caller, params.id);
    return await servers.actions(caller, params.id);
  }

  app.get<WithId>(all, async (request) => {
    const actions = await actionsFor(request);
    const shown = isSince(request.microversion, 58) ? pageOf(actions, queryOf(request as FastifyRequest)) : actions;
    return { instanceActions: shown.map((action) => actionView(action, request as FastifyRequest)) };
  });
  app.get<WithRequestId>(`${all}/:requestId`, async (request) => {
    const { id, requestId } = request.params;
    const action = (await actionsFor(request)).find((one) => one.requestId === requestId);
    if (action === undefined) throw notFound(`Action for request_id ${requestId} on instance ${id} not found`);
    return { instanceAction: { ...actionView(action, request as FastifyRequest), ...eventsOf(action, request as FastifyRequest) } };
  });
}

function pageOf(actions: readonly ServerAction[], query: Query): readonly ServerAction[] {
  const { limit, marker } = parsePage(query);
  const since = parseTime(query, 'changes-since');
  const before = parseTime(query, 'changes-before');
  const from = marker === undefined ? 0 : actions.findIndex(({ requestId }) => requestId === marker) + 1;
  if (marker !== undefined && from === 0) throw badRequest(`marker [${marker}] not found`);
  const isAsked = (action: ServerAction): boolean => {
    const at = Date.parse(`${changedAt(action)}Z`);
    return (since === undefined || at >= Date.parse(since)) && (before === undefined || at <= Date.parse(before));
  };
  return actions.slice(from).filter(isAsked).slice(0, limit);
}

const changedAt = ({ startedAt, finishedAt }: ServerAction): string => (finishedAt ?? startedAt).slice(0, 26);

function actionView(action: ServerAction, { microversion }: FastifyRequest): object {
  const { action: name, requestId, serverId, userId, projectId, startedAt, message } = action;
  return {
    action: name,
    instance_uuid: serverId,
    request_id: requestId,
    user_id: userId,
    project_id: projectId,
    start_time: startedAt.slice(0, 26),
    message: message === null ? null : 'Error',
    ...(isSince(microversion, 58) && { updated_at: changedAt(action) }),
  };
}

/** One for each action: what it consists of is told by jobs. */
function eventsOf({ action, projectId, startedAt, finishedAt, message }: ServerAction, { caller, microversion }: FastifyRequest): object {
  const seesAll = isAllowed(caller, 'machine:see_host', { projectId: null });
  const since = (minor: number): boolean => isSince(microversion, minor);
  if (!seesAll && !since(51)) return {};
  const event = {
    event: `compute_${action}`,
    start_time: startedAt.slice(0, 26),
    finish_time: finishedAt?.slice(0, 26) ?? null,
    result: finishedAt === null ? null : message === null ? 'Success' : 'Error',
    ...(seesAll && { traceback: null }),
    ...(since(62) && { hostId: hostIdOf({ projectId, vmState: 'active' }), ...(seesAll && { host: 'stillpoint' }) }),
    ...(since(84) && { details: message }),
  };
  return { events: [event] };
}
