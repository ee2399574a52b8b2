/**
 * No false alarm: disks that are snapshotted, written, cloned, reverted, extended, backed up, restored, merged and deleted all the time look wrong at many
 * instants, and a check must never take one of them for damage. Two hundred checks with repairs, the pauses between their looks far shorter than in real
 * life, find nothing and move nothing.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { backupOrder } from '../support/backup-cloud.ts';
import { type Dice, dice } from '../support/dice.ts';
import { type BrokenCloud, owner, startBrokenCloud } from '../support/reconcile.ts';

const run = promisify(execFile);
const rounds = 200;
const settleMsMax = 30;
const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const workers = 5;
const volumesMax = 10;

let broken: BrokenCloud;
beforeAll(async () => {
  broken = await startBrokenCloud();
});
afterAll(() => broken.stop());

it(`finds nothing wrong with disks that are being worked on (seed ${seed})`, { timeout: 1_200_000 }, async () => {
  console.info(`seed ${seed}`);
  // Made before the work begins, as in a service: whatever is unfinished since before then was left by somebody else.
  const reconcilers = Array.from({ length: settleMsMax }, (_, settleMs) => broken.reconcilerWith({ settleMs }));
  const stopping = new AbortController();
  const done = new Map<string, number>();
  const working = Array.from({ length: workers }, (_, index) => workUntil(stopping.signal, dice(seed + index), done));
  const chance = dice(seed + workers);
  let looks = 0;
  try {
    for (let round = 0; round < rounds; round += 1) {
      const report = await chance.pick(reconcilers).check({ repair: true, deep: round % 20 === 19, signal: stopping.signal });
      expect({ round, seed, findings: report.findings, trash: report.trash }).toEqual({
        round,
        seed,
        findings: [],
        trash: { count: 0, bytes: 0 },
      });
      looks += report.looked.layerFiles;
    }
  } finally {
    stopping.abort();
    await Promise.all(working);
  }
  console.info(
    `${rounds} checks, ${looks} layers looked at, meanwhile: ${[...done].map(([what, count]) => `${count} ${what}`).join(', ')}`,
  );
  // Otherwise nothing was proven.
  for (const what of ['snapshots', 'clones', 'writes', 'backups', 'deleted snapshots'])
    expect(done.get(what) ?? 0, what).toBeGreaterThan(0);
});

type Action = (chance: Dice) => Promise<string | undefined>;

/** Requests that meet the wrong state are refused, as they would be for clients: then the next one is tried. */
async function workUntil(signal: AbortSignal, chance: Dice, done: Map<string, number>): Promise<void> {
  while (!signal.aborted) {
    const action = chance.pick(actions);
    const what = await action(chance).catch((error: unknown) => {
      if (isRefusal(error)) return undefined;
      throw error;
    });
    if (what !== undefined) done.set(what, (done.get(what) ?? 0) + 1);
  }
}

const refusals =
  /status|in use|is open|being served|attached|dependent|does not exist|could not be found|must be|Invalid|is gone|no disk|snapshots/i;
const isRefusal = (error: unknown): boolean => error instanceof Error && (error.name === 'ProductError' || refusals.test(error.message));

async function anyVolume(chance: Dice, state: readonly string[] = ['available', 'in-use']): Promise<string | undefined> {
  const rows = await broken.cloud.held.database.sql.selectFrom('volumes').select('id').where('status', 'in', state).orderBy('id').execute();
  return rows.length === 0 ? undefined : chance.pick(rows).id;
}

async function anySnapshot(chance: Dice): Promise<{ id: string; volume_id: string } | undefined> {
  const { sql } = broken.cloud.held.database;
  const rows = await sql.selectFrom('snapshots').select(['id', 'volume_id']).where('status', '=', 'available').orderBy('id').execute();
  return rows.length === 0 ? undefined : chance.pick(rows);
}

async function anyBackup(chance: Dice): Promise<string | undefined> {
  const rows = await broken.cloud.held.database.sql
    .selectFrom('backups')
    .select('id')
    .where('status', '=', 'available')
    .orderBy('id')
    .execute();
  return rows.length === 0 ? undefined : chance.pick(rows).id;
}

const count = async (table: 'volumes' | 'snapshots' | 'backups'): Promise<number> =>
  (await broken.cloud.held.database.sql.selectFrom(table).select('id').execute()).length;

const newVolume = { name: null, description: null, sizeGib: 1, volumeType: null, availabilityZone: null, metadata: {} };

const actions: readonly Action[] = [
  async () => {
    if ((await count('volumes')) >= volumesMax) return undefined;
    const { id } = await broken.cloud.volumes.create(owner, { ...newVolume, source: { kind: 'blank' } });
    await broken.cloud.settledVolume(owner, id);
    return 'volumes';
  },
  async (chance) => {
    const snapshot = await anySnapshot(chance);
    if (snapshot === undefined || (await count('volumes')) >= volumesMax) return undefined;
    const { id } = await broken.cloud.volumes.create(owner, { ...newVolume, sizeGib: null, source: { kind: 'snapshot', id: snapshot.id } });
    await broken.cloud.settledVolume(owner, id);
    return 'clones';
  },
  async (chance) => {
    const id = await anyVolume(chance);
    if (id === undefined || (await count('snapshots')) > 30) return undefined;
    await broken.cloud.makeSnapshot(owner, id);
    return 'snapshots';
  },
  async (chance) => {
    const snapshot = await anySnapshot(chance);
    if (snapshot === undefined) return undefined;
    await broken.cloud.snapshots.delete(owner, snapshot.id);
    return 'deleted snapshots';
  },
  async (chance) => {
    const id = await anyVolume(chance, ['available']);
    if (id === undefined) return undefined;
    const commands = Array.from({ length: 1 + chance.below(4) }, () => {
      const [at, length] = [chance.below(4000) * 65_536, (1 + chance.below(64)) * 4096];
      return chance.chance(0.3) ? `write -z ${at} ${length}` : `write -P ${1 + chance.below(255)} ${at} ${length}`;
    });
    await connected(id, async (uri) => {
      for (const command of commands) await run('qemu-io', ['-f', 'raw', '-c', command, '-c', 'flush', uri]);
    });
    return 'writes';
  },
  async (chance) => {
    const id = await anyVolume(chance);
    if (id === undefined || (await count('backups')) > 10) return undefined;
    const incremental = chance.chance(0.3);
    const { id: backupId } = await broken.cloud.backups.create(owner, backupOrder({ volumeId: id, force: true, incremental }));
    const { status } = await broken.cloud.settledBackup(owner, backupId);
    return status === 'available' ? 'backups' : undefined;
  },
  async (chance) => {
    const id = await anyBackup(chance);
    if (id === undefined || (await count('volumes')) >= volumesMax) return undefined;
    const { volumeId } = await broken.cloud.backups.restore(owner, id, { volumeId: null, name: null });
    await broken.cloud.settledVolume(owner, volumeId);
    return 'restores';
  },
  async (chance) => {
    const [id, volumeId] = [await anyBackup(chance), await anyVolume(chance, ['available'])];
    if (id === undefined || volumeId === undefined) return undefined;
    await broken.cloud.backups.restore(owner, id, { volumeId, name: null });
    await broken.cloud.settledVolume(owner, volumeId);
    return 'restores over';
  },
  async (chance) => {
    const id = await anyBackup(chance);
    if (id === undefined || (await count('backups')) < 3) return undefined;
    await broken.cloud.backups.delete(owner, id);
    return 'deleted backups';
  },
  async (chance) => {
    const snapshot = await anySnapshot(chance);
    if (snapshot === undefined) return undefined;
    await broken.cloud.snapshots.revert(owner, { volumeId: snapshot.volume_id, snapshotId: snapshot.id, latestOnly: false });
    await broken.cloud.settledVolume(owner, snapshot.volume_id);
    return 'reverts';
  },
  async (chance) => {
    const id = await anyVolume(chance, ['available']);
    if (id === undefined || chance.chance(0.8)) return undefined;
    const { sizeGib } = await broken.cloud.volumes.get(owner, id);
    if (sizeGib >= 3) return undefined;
    await broken.cloud.volumes.extend(owner, id, sizeGib + 1);
    await broken.cloud.settledVolume(owner, id);
    return 'extensions';
  },
  async (chance) => {
    const id = await anyVolume(chance, ['available', 'error', 'error_restoring']);
    if (id === undefined || (await count('volumes')) < volumesMax / 2) return undefined;
    await broken.cloud.volumes.delete(owner, id, { cascade: chance.chance(0.7), force: false });
    return 'deleted volumes';
  },
];

/** As a client connects a volume, so that it may be snapshotted and merged while it is open. */
async function connected(id: string, work: (uri: string) => Promise<void>): Promise<void> {
  const { volumes } = broken.cloud;
  await volumes.reserve(owner, id);
  const { socketPath } = await volumes.initializeConnection(owner, id, { readOnly: false });
  await volumes.attach(owner, id, { instanceId: null, hostName: 'here', mountpoint: null, mode: 'rw' });
  try {
    await work(`nbd+unix:///disk?socket=${socketPath}`);
  } finally {
    await detached(id);
  }
}

/** A snapshot or a backup of it may be under way: then it is tried again. */
async function detached(id: string): Promise<void> {
  const { volumes } = broken.cloud;
  await expect
    .poll(
      () =>
        volumes.beginDetaching(owner, id).then(
          () => true,
          () => false,
        ),
      { timeout: 60_000 },
    )
    .toBe(true);
  await volumes.terminateConnection(owner, id);
  await volumes.detach(owner, id, null);
}
