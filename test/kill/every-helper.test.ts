import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { signIn } from '../support/api.ts';
import { endProcess, processes } from '../support/processes.ts';
import { mustBecomeQuiet } from '../support/scenario.ts';
import { makeStateDir, removeStateDir, startServiceUnderTest } from '../support/service.ts';
import { createInstantsInTime } from './instants-in-time.ts';
import { recordInstants } from './record-instants.ts';
import type { PreparedScene } from './scene.ts';
import { scenes } from './scenes.ts';

/**
 * The service stands still at every marked instant of every long operation, one at a time; meanwhile machines, the servers of disks and the data mover are
 * ended with SIGKILL, and the service goes on with what is left. Nothing may stay on its way, and every acknowledged byte must be there.
 */

const sceneTimeoutMs = 20 * 60_000;
const scenesWithHelpers = scenes.filter((scene) => scene.hasHelpers);
const instants = createInstantsInTime({ scenes: scenesWithHelpers.length, minutes: 20 });
let kills = 0;

afterAll(() => {
  process.stdout.write(`machines, storage daemons and data movers killed at marked instants: ${kills}, at ${instants.summary()}\n`);
});

describe.each(scenesWithHelpers)('$name', (scene) => {
  it('survives the end of its helpers at every instant', { timeout: sceneTimeoutMs }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'stillpoint-helpers-'));
    const stateDir = await makeStateDir();
    try {
      const { prepared, points } = await recordInstants(scene, stateDir, folder);
      expect(points.length).toBeGreaterThan(0);
      await instants.workAt(points, (point) => endHelpersAt(prepared, stateDir, point));
    } finally {
      await removeStateDir(stateDir);
      await rm(folder, { recursive: true, force: true });
    }
  });
});

async function endHelpersAt(prepared: PreparedScene, stateDir: string, point: string): Promise<void> {
  const watch = endHelpersWhenItStandsStill(stateDir);
  const service = await startServiceUnderTest(stateDir, { STILLPOINT_CRASH_POINT: `${point}:stop` }, watch.begin);
  try {
    const api = await signIn(service);
    // It may fail: its disk or its bytes went away under it.
    await prepared.operate(api).catch(() => undefined);
    await mustBecomeQuiet(api);
    await undisturbed(() => prepared.check(api));
    await undisturbed(() => prepared.operate(api));

    /** The instant may come only now: who reads a disk whose server is killed fails, and finds every byte the next time. */
    async function undisturbed(work: () => Promise<void>): Promise<void> {
      const before = watch.ended();
      try {
        await work();
      } catch (error) {
        if (watch.ended() === before) throw error;
        await mustBecomeQuiet(api);
        await work();
      }
    }
  } catch (error) {
    throw new Error(`helpers ended at ${point}: ${error instanceof Error ? error.message : String(error)}\n${service.log().slice(-3000)}`, {
      cause: error,
    });
  } finally {
    // Watched to its end: it may still come to the instant while it stops.
    await service.stop();
    kills += await watch.stop();
  }
}

/**
 * The instant may come before the service is ready, when an earlier one left something to its housekeeping; long after the request, when the
 * housekeeping gets to it; or never, when it has nothing to do this time.
 */
function endHelpersWhenItStandsStill(stateDir: string): { begin(processId: number): void; ended(): number; stop(): Promise<number> } {
  let isWatching = true;
  let ended = 0;
  let watching: Promise<void> | undefined;
  async function watch(processId: number): Promise<void> {
    while (isWatching) {
      const stat = await readFile(`/proc/${processId}/stat`, 'latin1').catch(() => 'ended');
      if (/\) T /.test(stat)) {
        ended += await endHelpers(processId, stateDir);
        process.kill(processId, 'SIGCONT');
      }
      await sleep(5);
    }
  }
  return {
    begin(processId) {
      watching = watch(processId);
    },
    ended: () => ended,
    async stop() {
      isWatching = false;
      await watching;
      return ended;
    },
  };
}

/** Returns how many there were. */
async function endHelpers(processId: number, stateDir: string): Promise<number> {
  const helpers = (await processes()).filter(
    ({ parentId, commandLine }) =>
      (/^[^\0]*qemu-(storage-daemon|system-x86_64)\0/.test(commandLine) && commandLine.includes(stateDir)) ||
      (parentId === processId && commandLine.includes('data-mover')),
  );
  return helpers.filter(({ id }) => endProcess(id)).length;
}
