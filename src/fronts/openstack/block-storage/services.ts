/** `/os-services`: the services of the deployment, and stopping them. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { ServiceView } from '../../../cloud/hosts/service.ts';
import { badRequest, notFound } from '../../../lib/errors.ts';
import { parseBody, text } from '../shared/body.ts';
import { queryOf, queryValue } from '../shared/paging.ts';
import type { BlockStorageFront } from './context.ts';

const optional = Type.Optional(Type.Union([text(255), Type.Null()]));
const named = { host: text(255, 1), binary: optional, service: optional };
const which = Type.Object(named);
const withReason = Type.Object({ ...named, disabled_reason: text(255, 1) });
const ofHost = Type.Object({ host: text(255, 1) });
const failover = Type.Object({ host: optional, cluster: optional, backend_id: optional });
const level = { binary: optional, server: optional, prefix: optional };
const setLog = Type.Object({ ...level, level: text(255, 1) });
const getLog = Type.Object(level);

interface Answer {
  readonly code?: 202;
  readonly body?: object;
}

/** Before its version a change is not there. */
function requireMicroversion({ microversion }: FastifyRequest, minor: number): void {
  if (!microversion.atLeast(3, minor)) throw notFound('The resource could not be found.');
}

type Change = (front: BlockStorageFront, request: FastifyRequest) => Promise<Answer>;

const changes: Readonly<Record<string, Change>> = {
  async enable({ hosts }, { caller, body }) {
    const asked = parseBody(which, body);
    const service = await hosts.enable(caller, asked.host, binaryIn(asked));
    return { body: { ...echo(service), disabled_reason: null } };
  },
  async disable({ hosts }, { caller, body }) {
    const asked = parseBody(which, body);
    return { body: echo(await hosts.disable(caller, asked.host, binaryIn(asked), null)) };
  },
  async 'disable-log-reason'({ hosts }, { caller, body }) {
    const asked = parseBody(withReason, body);
    const reason = asked.disabled_reason.trim();
    if (reason === '') throw badRequest('Disabled reason contains invalid characters or is too long');
    const service = await hosts.disable(caller, asked.host, binaryIn(asked), reason);
    return { body: { ...echo(service), disabled_reason: reason } };
  },
  async freeze({ hosts }, { caller, body }) {
    await hosts.setFrozen(caller, parseBody(ofHost, body).host, true);
    return {};
  },
  async thaw({ hosts }, { caller, body }) {
    await hosts.setFrozen(caller, parseBody(ofHost, body).host, false);
    return {};
  },
  async failover_host({ hosts }, { caller, body }) {
    await hosts.failOver(caller, parseBody(failover, body).host ?? '');
    return {};
  },
  async failover({ hosts }, request) {
    requireMicroversion(request, 26);
    await hosts.failOver(request.caller, parseBody(failover, request.body).host ?? '');
    return {};
  },
  async 'set-log'({ hosts }, request) {
    requireMicroversion(request, 32);
    const asked = parseBody(setLog, request.body);
    await hosts.setLogLevel(request.caller, logQuery(asked), asked.level);
    return { code: 202 };
  },
  async 'get-log'({ hosts }, request) {
    requireMicroversion(request, 32);
    return { body: { log_levels: await hosts.logLevels(request.caller, logQuery(parseBody(getLog, request.body))) } };
  },
};

export function registerServiceRoutes(app: FastifyInstance, front: BlockStorageFront): void {
  app.get('/os-services', async (request) => {
    const query = queryOf(request);
    // The older name of the parameter counts where the newer is not there.
    const binary = queryValue(query, 'binary') ?? queryValue(query, 'service');
    const services = await front.hosts.list(request.caller, { host: queryValue(query, 'host'), binary });
    return { services: services.map((service) => serviceView(service, request)) };
  });
  app.put<{ Params: { change: string } }>('/os-services/:change', async (request, reply) => {
    const change = Object.hasOwn(changes, request.params.change) ? changes[request.params.change] : undefined;
    if (change === undefined) throw notFound('Unknown action');
    const { code = 200, body } = await change(front, request as FastifyRequest);
    return reply.code(code).send(body);
  });
}

function binaryIn({ binary, service }: { binary?: string | null; service?: string | null }): string {
  const name = binary || service;
  if (!name) throw badRequest("Missing required element 'binary' in request body.");
  return name;
}

/** `*` and nothing mean all of them. */
function logQuery({ binary, server, prefix }: { binary?: string | null; server?: string | null; prefix?: string | null }) {
  const known = ['', '*', 'cinder-api', 'cinder-volume', 'cinder-scheduler', 'cinder-backup'];
  if (!known.includes(binary ?? ''))
    throw badRequest(`Invalid input for field/attribute binary. Value: ${binary}. '${binary}' is not one of ${known.join(', ')}`);
  return { binary: binary && binary !== '*' ? binary : undefined, host: server || undefined, prefix: prefix ?? '' };
}

const statusOf = ({ disabled }: ServiceView): string => (disabled ? 'disabled' : 'enabled');

const echo = (service: ServiceView): object => ({
  host: service.host,
  service: service.binary,
  binary: service.binary,
  disabled: service.disabled,
  status: statusOf(service),
});

function serviceView(service: ServiceView, { microversion }: FastifyRequest): object {
  const holdsVolumes = service.binary === 'cinder-volume';
  return {
    binary: service.binary,
    host: service.host,
    zone: 'nova',
    status: statusOf(service),
    state: 'up',
    updated_at: service.updatedAt,
    disabled_reason: service.disabledReason,
    ...(holdsVolumes && { replication_status: 'disabled', active_backend_id: null, frozen: service.frozen }),
    ...(microversion.atLeast(3, 7) && { cluster: null }),
    ...(holdsVolumes && microversion.atLeast(3, 49) && { backend_state: 'up' }),
  };
}
