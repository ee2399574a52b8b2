/**
 * Starting, stopping, restarting, pausing a server. One step each, and one statement in the end.
 *
 *   start     the disks are served, and a new machine starts
 *   stop      the guest is asked to turn itself off, and after its time the machine is ended; the disks stay attached, and nobody serves them
 *   reboot    soft: the guest is asked, and when it does not listen, as hard: the machine ends, and a new one starts
 *   pause     the processors stand still, or go on
 *
 * Half-way: asking twice is asking once, and a new machine has an id that was chosen in the request. There is nothing to undo: a server whose start or
 * restart failed is stopped, with the reason, and may be started again.
 */

import type { Hypervisor } from '../../engine/hypervisor/contract.ts';
import { MachineError } from '../../engine/hypervisor/contract.ts';
import type { Database } from '../database/service.ts';
import type { SagaDefinition, SagaFailure, StepContext } from '../jobs/saga.ts';
import { finishAction } from './action-store.ts';
import type { Server } from './contract.ts';
import type { RunningServers } from './running.ts';
import { type PowerState, powerStates, type TaskState, tasks, type VmState } from './states.ts';
import { endTask, failTask, findServer } from './store.ts';

export const powerKind = 'server.power';

const verbs = ['start', 'stop', 'reboot', 'reboot_hard', 'pause', 'unpause'] as const;
export type PowerVerb = (typeof verbs)[number];

export type PowerInput = {
  readonly serverId: string;
  readonly verb: PowerVerb;
  /** Of the machine that is started. */
  readonly machineId: string;
  readonly requestId: string;
};

export interface PowerJobDeps {
  readonly database: Database;
  readonly hypervisor: Hypervisor;
  readonly running: RunningServers;
  /** How long a guest may take to turn itself off. */
  readonly shutDownMs: number;
}

type Context = StepContext<PowerInput>;

const outcomes: Record<PowerVerb, { readonly vmState: VmState; readonly powerState: PowerState }> = {
  start: { vmState: 'active', powerState: powerStates.running },
  stop: { vmState: 'stopped', powerState: powerStates.shutDown },
  reboot: { vmState: 'active', powerState: powerStates.running },
  reboot_hard: { vmState: 'active', powerState: powerStates.running },
  pause: { vmState: 'paused', powerState: powerStates.paused },
  unpause: { vmState: 'active', powerState: powerStates.running },
};

export function powerSaga(deps: PowerJobDeps): SagaDefinition<PowerInput> {
  const { database, hypervisor, running, shutDownMs } = deps;

  async function shutDown(server: Server): Promise<void> {
    const machine = await running.find(server);
    if (machine !== undefined) await hypervisor.shutDown(machine, shutDownMs).catch(unlessGone);
    await running.end(server.id);
  }

  async function carryOut({ input, effect }: Context): Promise<void> {
    const { serverId, verb, machineId } = input;
    const server = await findServer(database.sql, serverId);
    if (server === undefined) throw new Error('the server was deleted');
    const machine = running.machineOf(server);
    // A repeat finds the machine that it started itself.
    const isDone = machine?.id === machineId;
    switch (verb) {
      case 'start':
        return await effect('start', () => running.start(serverId, machineId));
      case 'stop':
        return await effect('stop', () => shutDown(server));
      case 'reboot':
        if (!isDone) await effect('stop', () => shutDown(server));
        return await effect('start', () => running.start(serverId, machineId));
      case 'reboot_hard':
        if (!isDone) await effect('stop', () => running.end(serverId));
        return await effect('start', () => running.start(serverId, machineId));
      case 'pause':
        return await effect('pause', () => hypervisor.pause(mustRun(machine)));
      case 'unpause':
        return await effect('resume', () => hypervisor.resume(mustRun(machine)));
    }
  }

  async function finish({ input }: Context): Promise<undefined> {
    const { serverId, verb, requestId } = input;
    await endTask(database.sql, serverId, ownWords(verb), { ...outcomes[verb], fault: null });
    await finishAction(database.sql, serverId, requestId, null);
    await running.follow(serverId);
  }

  /** Whether it stands still, runs, or has no machine any more; nothing when the machine has ended by itself, which is told elsewhere. */
  async function standing(serverId: string): Promise<Partial<(typeof outcomes)[PowerVerb]>> {
    const server = await findServer(database.sql, serverId);
    const machine = server === undefined ? undefined : running.machineOf(server);
    if (machine === undefined) return outcomes.stop;
    const { power } = await hypervisor.inspect(machine);
    if (power === 'paused') return outcomes.pause;
    return power === 'running' ? outcomes.unpause : {};
  }

  /** What is left is what the machine really is. */
  async function settle({ input }: Context, failure: SagaFailure): Promise<void> {
    const { serverId, verb, requestId } = input;
    const message = `The server could not ${wordsOf[verb]}: ${failure.message}`;
    const fault = { code: 500, message };
    if (verb === 'start' || verb === 'reboot' || verb === 'reboot_hard') {
      await running.alone(serverId, () => running.end(serverId));
      await failTask(database.sql, serverId, ownWords(verb), { vmState: 'stopped', powerState: powerStates.shutDown, fault });
    } else {
      await endTask(database.sql, serverId, ownWords(verb), { ...(await standing(serverId)), fault });
    }
    await finishAction(database.sql, serverId, requestId, message);
    await running.settle(serverId);
  }

  return {
    kind: powerKind,
    steps: [
      {
        name: 'machine',
        async run(context) {
          await running.alone(context.input.serverId, () => carryOut(context));
          return undefined;
        },
        undo: { notNeeded: 'Settling ends what was started, and the row follows what the machine is.' },
      },
      { name: 'finish', run: finish, undo: { notNeeded: 'It is one statement, and the last step.' } },
    ],
    settle,
  };
}

const ownWords = (verb: PowerVerb): readonly TaskState[] => [tasks[verb].task];

const wordsOf: Record<PowerVerb, string> = {
  start: 'be started',
  stop: 'be stopped',
  reboot: 'be restarted',
  reboot_hard: 'be restarted',
  pause: 'be paused',
  unpause: 'go on',
};

function mustRun<T>(machine: T | undefined): T {
  if (machine === undefined) throw new MachineError('gone', 'no machine runs it');
  return machine;
}

function unlessGone(error: unknown): void {
  if (!(error instanceof MachineError)) throw error;
}
