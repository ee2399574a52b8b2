/** `POST /servers/{id}/action`: what each action asks for, does, and answers. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { badRequest } from '../../../lib/errors.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { parseBody } from '../shared/body.ts';
import { publicBase } from '../shared/links.ts';
import type { ComputeFront } from './context.ts';
import { isSince } from './microversions.ts';
import { actionSchemas } from './server-bodies.ts';

type ActionRequest = FastifyRequest<{ Params: { id: string } }>;

/** What is sent back: 202 and nothing, unless it says otherwise. */
interface Answer {
  readonly code: 200 | 202;
  readonly body?: unknown;
  readonly location?: string;
}

type Action = (front: ComputeFront, request: ActionRequest, argument: unknown) => Promise<Answer | undefined>;

/** Whatever is sent as an argument is let through, as by the original. */
const plain =
  (name: 'start' | 'stop' | 'pause' | 'unpause' | 'unlock' | 'delete'): Action =>
  async ({ servers }, { caller, params }) => {
    await servers[name](caller, params.id);
    return undefined;
  };

const actions: Readonly<Record<string, Action>> = {
  'os-start': plain('start'),
  'os-stop': plain('stop'),
  pause: plain('pause'),
  unpause: plain('unpause'),
  unlock: plain('unlock'),
  forceDelete: plain('delete'),
  async reboot({ servers }, { caller, params }, argument) {
    const { type } = parseBody(actionSchemas.reboot, argument);
    await servers.reboot(caller, params.id, type.toUpperCase() === 'HARD' ? 'HARD' : 'SOFT');
    return undefined;
  },
  async createImage({ servers, publicUrl }, request, argument) {
    const { name, metadata = {} } = parseBody(actionSchemas.createImage, argument);
    const id = await servers.createImage(request.caller, request.params.id, { name, metadata });
    if (isSince(request.microversion, 45)) return { code: 202, body: { image_id: id } };
    return { code: 202, location: `${publicBase(request, publicUrl)}/image/v2/images/${id}` };
  },
  async lock({ servers }, { caller, params }, argument) {
    const asked = parseBody(actionSchemas.lock, argument ?? null);
    await servers.lock(caller, params.id, asked?.locked_reason ?? null);
    return undefined;
  },
  async 'os-resetState'({ servers }, { caller, params }, argument) {
    await servers.resetState(caller, params.id, parseBody(actionSchemas.resetState, argument).state);
    return undefined;
  },
  async 'os-getConsoleOutput'({ servers }, { caller, params }, argument) {
    const asked = parseBody(actionSchemas.consoleOutput, argument ?? null);
    return { code: 200, body: { output: await servers.consoleOutput(caller, params.id, linesIn(asked?.length)) } };
  },
};

/** -1 and nothing: all of it. */
function linesIn(length: unknown): number | undefined {
  if (length === undefined || length === null || length === '') return undefined;
  if (!/^-?\d{1,9}$/.test(String(length)) || Number(length) < -1)
    throw badRequest(`Invalid input for field/attribute length. Value: ${length}. ${length} is not a number of lines`);
  return Number(length) === -1 ? undefined : Number(length);
}

export function registerServerActions(app: FastifyInstance, front: ComputeFront): void {
  app.post<{ Params: { id: string } }>('/servers/:id/action', taking(actions), async (request, reply) => {
    const { name, argument } = actionIn(request.body, actions);
    const answer = await actions[name]?.(front, request as ActionRequest, argument);
    if (answer?.location !== undefined) reply.header('location', answer.location);
    return reply.code(answer?.code ?? 202).send(answer?.body);
  });
}
