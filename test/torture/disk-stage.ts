/** Histories on the disks alone: the real disks service in a process of its own, without a front and without sagas. */
import { setTimeout as pause } from 'node:timers/promises';
import type { TestServer } from '../support/database-server.ts';
import { checkWorld, clearWorld } from './checks.ts';
import type { Counts } from './counts.ts';
import { DiskProcessDied, OrderFailed } from './disk-client.ts';
import { beginOperation } from './operations.ts';
import type { Stage } from './stage.ts';
import { World } from './world.ts';

/** Instants of what happens by itself a moment later are waited for a little. */
const patienceMs = 700;
const answerWithinMs = 2_000;

export async function makeDiskStage(server: TestServer, counts: Counts): Promise<Stage> {
  const world = await World.make(server, counts);
  return {
    counts,
    volumes: world.volumes,
    canResume: true,
    begin: (step) => beginOperation(world, step),
    check: (options) => checkWorld(world, options),
    async clear() {
      await clearWorld(world);
      await world.disks.stop();
    },
    async restart() {
      await world.disks.stop();
      await world.startDisks();
    },
    arm: (at) => world.disks.order('arm', at),
    disarm: () => world.disks.order('disarm', undefined),
    kill: () => world.disks.kill(),
    isDead: () => world.disks.isDead,
    async diesSoon() {
      await Promise.race([world.disks.ended, pause(patienceMs)]);
      return world.disks.isDead;
    },
    revive: () => world.startDisks(),
    isDeath: (error) => error instanceof DiskProcessDied,
    isCancellation: (error) => error instanceof OrderFailed && (error.kind === 'aborted' || error.message.endsWith(': cancelled')),
    async serverOf({ id }) {
      const row = await world.database.sql.selectFrom('volume_exports').select('process_id').where('volume_id', '=', id).executeTakeFirst();
      return row === undefined || row.process_id === 0 ? undefined : row.process_id;
    },
    killMover: () => world.disks.killMover(),
    async lastWords() {
      const asked = world.disks.order('warnings', undefined).catch(() => [] as string[]);
      const words = await Promise.race([asked, pause(answerWithinMs, ['(it does not answer)'])]);
      return [...words.slice(-12), world.disks.output].join('\n');
    },
    end: () => world.end(),
  };
}
