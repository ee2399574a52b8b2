/** `/os-services`: Compute's services, and stopping the one that servers run on. By name until 2.52, by id since. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { ComputeServiceChanges, ComputeServiceView, ServiceName } from '../../../cloud/hosts/compute-hosts.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { isUuid } from '../../../lib/ids.ts';
import { booleanLike, parseBody, parseBoolean, text } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import type { ComputeFront } from './context.ts';
import { isSince } from './microversions.ts';

type WithId = { Params: { id: string } };

const strict = { additionalProperties: false };
const which = { host: text(255, 1), binary: text(255, 1) };
const enable = Type.Object(which, strict);
const disableWithReason = Type.Object({ ...which, disabled_reason: text(255, 1) }, strict);
const forceDown = Type.Object({ ...which, forced_down: booleanLike }, strict);
const update = Type.Object(
  {
    status: Type.Optional(Type.Enum(['enabled', 'disabled'])),
    disabled_reason: Type.Optional(text(255, 1)),
    forced_down: Type.Optional(booleanLike),
  },
  strict,
);

export function registerServiceRoutes(app: FastifyInstance, { computeHosts }: ComputeFront): void {
  app.get('/os-services', async (request) => {
    const query = queryOf(request);
    const found = await computeHosts.services(request.caller, { host: queryValue(query, 'host'), binary: queryValue(query, 'binary') });
    return { services: found.map((service) => view(service, request)) };
  });
  app.put<WithId>('/os-services/:id', async (asked) => {
    const request = asked as FastifyRequest;
    const { id } = asked.params;
    if (!isSince(request.microversion, 53)) return { service: await changeByName(id, request) };
    return { service: view(await computeHosts.change(request.caller, serviceNamed(request, id), changesIn(request.body)), request) };
  });
  app.delete<WithId>('/os-services/:id', async (request) => {
    await computeHosts.remove(request.caller, serviceNamed(request as FastifyRequest, request.params.id));
  });

  async function changeByName(change: string, { caller, body, microversion }: FastifyRequest): Promise<object> {
    if (change === 'enable' || change === 'disable') {
      const name = parseBody(enable, body);
      const disabled = change === 'disable';
      await computeHosts.change(caller, name, { disabled, disabledReason: null });
      return { ...name, status: `${change}d` };
    }
    if (change === 'disable-log-reason') {
      const { disabled_reason: disabledReason, ...name } = parseBody(disableWithReason, body);
      await computeHosts.change(caller, name, { disabled: true, disabledReason });
      return { ...name, status: 'disabled', disabled_reason: disabledReason };
    }
    if (change !== 'force-down' || !isSince(microversion, 11)) throw notFound('Unknown action');
    const { forced_down: asked, ...name } = parseBody(forceDown, body);
    const forcedDown = parseBoolean(asked) === true;
    await computeHosts.change(caller, name, { forcedDown });
    return { ...name, forced_down: forcedDown };
  }
}

function serviceNamed({ microversion }: FastifyRequest, id: string): ServiceName {
  if (isSince(microversion, 53)) {
    if (!isUuid(id)) throw badRequest(`Invalid uuid ${id}`);
    return { uuid: id };
  }
  if (!/^\d{1,9}$/.test(id)) throw badRequest(`Invalid id ${id}`);
  return { id: Number(id) };
}

function changesIn(body: unknown): ComputeServiceChanges {
  const asked = parseBody(update, body);
  if (Object.keys(asked).length === 0) {
    throw badRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.");
  }
  if (asked.disabled_reason !== undefined && asked.status !== 'disabled') {
    throw badRequest("Specifying 'disabled_reason' when status is 'enabled' is invalid.");
  }
  return {
    ...(asked.status !== undefined && { disabled: asked.status === 'disabled', disabledReason: asked.disabled_reason ?? null }),
    ...(asked.forced_down !== undefined && { forcedDown: parseBoolean(asked.forced_down) === true }),
  };
}

const view = (service: ComputeServiceView, { microversion }: FastifyRequest): object => ({
  id: isSince(microversion, 53) ? service.uuid : service.id,
  binary: service.binary,
  host: service.host,
  zone: service.zone,
  status: service.disabled ? 'disabled' : 'enabled',
  state: service.forcedDown ? 'down' : 'up',
  updated_at: service.updatedAt,
  disabled_reason: service.disabledReason,
  ...(isSince(microversion, 11) && { forced_down: service.forcedDown }),
});
