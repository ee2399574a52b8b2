import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Api, signIn } from '../support/api.ts';
import { mustBecomeQuiet } from '../support/scenario.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';
import { createInstantsInTime } from './instants-in-time.ts';
import { recordInstants } from './record-instants.ts';
import type { PreparedScene } from './scene.ts';
import { scenes } from './scenes.ts';

/**
 * Ends the real service with SIGKILL at every marked instant of every long operation, one at a time, and starts it again. Then nothing
 * may stay on its way, every acknowledged byte must be there, and the operation must go through.
 */

const sceneTimeoutMs = 20 * 60_000;
const instants = createInstantsInTime({ scenes: scenes.length, minutes: 30 });
let kills = 0;

afterAll(() => {
  process.stdout.write(`kills at marked instants: ${kills}, at ${instants.summary()}\n`);
});

describe.each(scenes)('$name', (scene) => {
  it('survives a kill at every instant', { timeout: sceneTimeoutMs }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'stillpoint-kill-'));
    const stateDir = await makeStateDir();
    try {
      const { prepared, points } = await recordInstants(scene, stateDir, folder);
      expect(points.length).toBeGreaterThan(0);
      await instants.workAt(points, (point) => killAt(prepared, stateDir, point));
    } finally {
      await removeStateDir(stateDir);
      await rm(folder, { recursive: true, force: true });
    }
  });
});

async function killAt(prepared: PreparedScene, stateDir: string, point: string): Promise<void> {
  const armed = await startServiceUnderTest(stateDir, { STILLPOINT_CRASH_POINT: `${point}:kill` });
  try {
    await prepared.operate(await signIn(armed));
  } catch {
    // The service died under it; that is the point.
  }
  if (await endedByItself(armed)) kills += 1;
  else await armed.stop();
  const again = await startServiceUnderTest(stateDir);
  try {
    const api: Api = await signIn(again);
    await mustBecomeQuiet(api);
    await prepared.check(api);
    await prepared.operate(api);
  } catch (error) {
    throw new Error(`killed at ${point}: ${error instanceof Error ? error.message : String(error)}\n${again.log().slice(-3000)}`, {
      cause: error,
    });
  } finally {
    await again.stop();
  }
}

/** An instant that comes after the answer (housekeeping) may be passed a moment later. */
async function endedByItself(service: ServiceUnderTest): Promise<boolean> {
  const patience = new Promise<false>((done) => setTimeout(() => done(false), 1_000));
  return (await Promise.race([service.ended.then(() => true as const), patience])) === true;
}
