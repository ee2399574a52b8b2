/** Histories on the whole service: the real program, driven through its public APIs and its disks' sockets, and killed. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { processes } from '../support/processes.ts';
import { letGo } from '../support/scenario.ts';
import { removeStateDir } from '../support/service.ts';
import type { Counts } from './counts.ts';
import { Found, mustEqual } from './model.ts';
import { beginServiceOperation, Cancelled } from './service-operations.ts';
import { ServiceWorld } from './service-world.ts';
import type { Stage } from './stage.ts';

/** Instants of what happens by itself a moment later are waited for a little. */
const patienceMs = 1_000;
/** Within this time, the layers of what was deleted are gone. */
const tidyWithinMs = 20_000;
const logShown = 4_000;

export async function makeServiceStage(counts: Counts): Promise<Stage> {
  const world = await ServiceWorld.make(counts);
  return {
    counts,
    volumes: world.volumes,
    canResume: false,
    begin: (step) => beginServiceOperation(world, step),
    check: (options) => check(world, options),
    clear: () => clear(world),
    async restart() {
      await world.service.stop();
      await world.start();
    },
    async arm({ point, hits }) {
      await world.service.stop();
      await world.start({ STILLPOINT_CRASH_POINT: `${point}:kill${hits > 0 ? `:${hits}` : ''}` });
    },
    async disarm() {
      await world.service.stop();
      await world.start();
    },
    kill: () => world.service.kill(),
    isDead: () => world.isDead,
    async diesSoon() {
      await Promise.race([world.service.ended, pause(patienceMs)]);
      return world.isDead;
    },
    async revive() {
      await world.start();
      await world.quiet();
    },
    // A request that was under way, or the next question about it.
    isDeath: (error) => error instanceof TypeError && error.message === 'fetch failed',
    isCancellation: (error) => error instanceof Cancelled,
    async serverOf({ id }) {
      const socketPath = world.sockets.get(id);
      return socketPath === undefined ? undefined : (await world.daemons()).find(({ commandLine }) => commandLine.includes(socketPath))?.id;
    },
    async killMover() {
      const mover = (await processes()).find(
        ({ parentId, commandLine }) => parentId === world.service.processId && commandLine.includes('data-mover'),
      );
      if (mover === undefined) return false;
      process.kill(mover.id, 'SIGKILL');
      return true;
    },
    lastWords: async () => world.service.log().slice(-logShown),
    async end() {
      for (const { client } of world.volumes.values()) await client?.close().catch(() => undefined);
      if (!world.isDead) await world.service.kill();
      await removeStateDir(world.stateDir);
    },
  };
}

async function check(world: ServiceWorld, { everything }: { everything: boolean }): Promise<void> {
  world.counts.checks += 1;
  for (const volume of world.volumes.values()) {
    if (volume.client === undefined) await letGo(world.api, volume.id);
    await world.mustBe('volumes', volume.id, [volume.client === undefined ? 'available' : 'in-use']);
    volume.compare(await world.readVolume(volume.id, volume.client));
  }
  for (const point of world.points.values()) {
    await world.mustBe(point.volumeId === undefined ? 'images' : 'snapshots', point.id, ['available', 'active']);
    const observed = await world.readPoint(point);
    mustEqual(point.name, observed, point.contents.resized(observed.sizeBytes));
  }
  for (const backup of world.backups.values()) {
    await world.mustBe('backups', backup.id, ['available']);
    if (everything || !backup.isVerified) mustEqual(backup.name, await world.readBackup(backup.id), backup.contents);
  }
  await mustKnowAll(world);
}

/** The service has nothing that the model does not have. */
async function mustKnowAll(world: ServiceWorld): Promise<void> {
  const known = new Set([...world.volumes.values(), ...world.points.values(), ...world.backups.values()].map(({ id }) => id));
  for (const collection of ['volumes', 'snapshots', 'backups'] as const) {
    const answer = await world.api.volume('GET', `/${collection}/detail`);
    for (const { id, name, status } of answer[collection]) {
      if (!known.has(id)) throw new Found(`${collection} has ${name} (${status}), which nobody asked for`);
    }
  }
}

async function clear(world: ServiceWorld): Promise<void> {
  for (const volume of world.volumes.values()) {
    await volume.client?.close();
    volume.client = undefined;
    await letGo(world.api, volume.id);
    await world.api.volume('DELETE', `/volumes/${volume.id}?cascade=true`);
    await world.mustVanish('volumes', volume.id);
  }
  for (const point of world.points.values()) if (point.volumeId === undefined) await world.vanish('images', point.id);
  // Dependents first: the newest has none.
  for (const backup of [...world.backups.values()].reverse()) await world.vanish('backups', backup.id);
  world.volumes.clear();
  await mustBecomeEmpty(world);
  await world.service.stop();
}

async function mustBecomeEmpty(world: ServiceWorld): Promise<void> {
  const until = performance.now() + tidyWithinMs;
  for (;;) {
    const entries = await readdir(join(world.stateDir, 'volumes'), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const daemons = await world.daemons();
    if (files.length === 0 && daemons.length === 0) return;
    if (performance.now() > until)
      throw new Found(`left over after everything was deleted: ${files.join(', ')} ${JSON.stringify(daemons)}`);
    await pause(100);
  }
}
