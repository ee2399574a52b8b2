/**
 * Guests that stand still while their disks are frozen.
 *
 * A server with the agent's channel (`hw_qemu_guest_agent` of its image) is frozen by its agent: its hooks run, its file systems are written out and stop.
 * What happens when that fails is Nova's rule, but for one thing: a guest that says no, because one of its hooks failed, had a reason, so nothing is made
 * without it. An agent that does not answer is passed over, unless the image demands it (`os_require_quiesce`).
 *
 * No guest is left frozen: the row says that it may be before it is asked (`frozen_at`), and until it is known to be thawed; whoever finds the row so at
 * start goes on thawing. A freeze that lasts too long is ended over the head of whoever asked for it.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Hypervisor, Machine } from '../../engine/hypervisor/contract.ts';
import { type GuestAgent, withGuestAgent } from '../../engine/hypervisor/guest-agent.ts';
import { GuestAgentError } from '../../engine/hypervisor/guest-agent-error.ts';
import { thawGuest, withFrozenGuest } from '../../engine/hypervisor/quiesce.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { conflict, messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { PointConsistency, Quiescence } from '../disks/service.ts';
import type { Server } from './contract.ts';
import { hasAgent, requiresQuiesce } from './machine-spec.ts';
import type { RunningServers } from './running.ts';
import { findServer, serversOfVolumes, setFrozen } from './store.ts';

export interface QuiesceDeps {
  readonly database: Database;
  readonly hypervisor: Pick<Hypervisor, 'agentPath'>;
  readonly running: Pick<RunningServers, 'machineOf'>;
  readonly log: Log;
}

export interface ServerQuiescence extends Quiescence {
  /** At start: guests that a dead process may have left frozen. Returns at once. */
  thawLeftovers(servers: readonly Server[]): void;
}

const crashConsistent: PointConsistency = { consistency: 'crash-consistent', freezeMs: null };
const retryPauseMs = 5_000;

export function createQuiescence({ database, hypervisor, running, log }: QuiesceDeps): ServerQuiescence {
  /** One guest after the other is frozen, all of them while `work` runs. */
  async function freezeAll(servers: readonly Server[], work: () => Promise<void>): Promise<PointConsistency> {
    const [first, ...others] = servers;
    if (first === undefined) {
      await work();
      return { consistency: 'quiesced', freezeMs: 0 };
    }
    return await freezeOne(first, () => freezeAll(others, work));
  }

  async function freezeOne(server: Server, work: () => Promise<PointConsistency>): Promise<PointConsistency> {
    const machine = running.machineOf(server);
    const isRequired = requiresQuiesce(server.imageProperties);
    // The guest of a paused server cannot write anything, nor answer.
    if (machine === undefined || server.vmState !== 'active') return await unfrozen(work);
    if (!hasAgent(server.imageProperties)) {
      if (isRequired) throw conflict(`Quiescing is not supported in instance ${server.id}: QEMU guest agent is not enabled.`);
      return await unfrozen(work);
    }
    let hasRun = false;
    try {
      return await withGuestAgent(hypervisor.agentPath(machine), (agent) =>
        frozen(server, machine, agent, () => {
          hasRun = true;
          return work();
        }),
      );
    } catch (error) {
      if (hasRun || !(error instanceof GuestAgentError)) throw error;
      if (isRequired || error.kind === 'refused')
        throw conflict(`The guest of instance ${server.id} could not be frozen, so nothing was made: ${error.message}`, error);
      log.warn({ serverId: server.id, reason: error.message }, 'a guest could not be frozen; what is made is as after a power cut');
      return await unfrozen(work);
    }
  }

  async function frozen(
    server: Server,
    machine: Machine,
    agent: GuestAgent,
    work: () => Promise<PointConsistency>,
  ): Promise<PointConsistency> {
    const options = {
      async arm() {
        await setFrozen(database.sql, server.id, true);
        crashPoint('server:freeze-armed');
      },
      disarm: () => setFrozen(database.sql, server.id, false),
    };
    const result = await withFrozenGuest(agent, options, async () => {
      crashPoint('server:frozen');
      return await work();
    });
    if (result.guest === 'unanswered') keepThawing(server.id, machine);
    if (result.held) return { ...result.value, freezeMs: Math.max(result.windowMs, result.value.freezeMs ?? 0) };
    if (requiresQuiesce(server.imageProperties)) throw conflict(`The guest of instance ${server.id} did not stay frozen: ${result.reason}`);
    log.warn({ serverId: server.id, reason: result.reason }, 'a guest did not stay frozen; what was made is as after a power cut');
    return { consistency: 'crash-consistent', freezeMs: result.windowMs };
  }

  function keepThawing(serverId: string, machine: Machine): void {
    const thaw = async (): Promise<void> => {
      for (;;) {
        const server = await findServer(database.sql, serverId);
        if (server?.machine?.id !== machine.id) break;
        const attempt = await withGuestAgent(hypervisor.agentPath(machine), (agent) => thawGuest(agent)).catch((error: unknown) => {
          log.warn({ serverId, error: messageOf(error) }, 'a guest that may be frozen could not be thawed, and is tried again');
        });
        if (attempt !== undefined && attempt.state !== 'unanswered') break;
        await pause(retryPauseMs, undefined, { ref: false });
      }
      await setFrozen(database.sql, serverId, false);
    };
    // The row stays as it is, and the next start goes on.
    thaw().catch((error: unknown) => log.warn({ serverId, error: messageOf(error) }, 'nobody knows whether a guest is frozen'));
  }

  return {
    async around(volumeIds, work) {
      const servers = await serversOfVolumes(database.sql, volumeIds);
      const theirs = new Set(servers.flatMap(({ disks }) => disks.map(({ volumeId }) => volumeId)));
      const stood = servers.length === 0 ? await unfrozen(alone(work)) : await freezeAll(servers, work);
      // Somebody else writes to the others.
      return volumeIds.every((id) => theirs.has(id)) ? stood : { ...stood, consistency: 'crash-consistent' };
    },
    thawLeftovers(servers) {
      for (const server of servers) {
        const machine = running.machineOf(server);
        if (machine !== undefined && server.isFrozen) keepThawing(server.id, machine);
      }
    },
  };
}

const alone = (work: () => Promise<void>) => async (): Promise<PointConsistency> => {
  await work();
  return crashConsistent;
};

async function unfrozen(work: () => Promise<PointConsistency>): Promise<PointConsistency> {
  const { freezeMs } = await work();
  return { consistency: 'crash-consistent', freezeMs: freezeMs === 0 ? null : freezeMs };
}
