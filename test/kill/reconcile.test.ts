/**
 * A check that repairs is killed at every marked instant; the next one goes on. What was there is there once, whole, either in its place or in the trash.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDisksService, type RunningDisks } from '../../src/cloud/disks/service.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import type { LayerName, TrashedItem } from '../../src/engine/volumes/inventory-contract.ts';
import { createLayeredFiles, type LayeredFiles } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';
import { proveKills } from '../support/kill-harness.ts';

const script = join(import.meta.dirname, '../support/reconcile-process.ts');
const bytes = Buffer.alloc(1 << 20, 7);
const note = { reason: 'a test', at: new Date('2026-11-21T03:00:00.000Z') };

let folder: string;
let held: TestDatabase;
let backend: LayeredFiles;
let disks: RunningDisks;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sp-rec-'));
  await mkdir(join(folder, 'run'), { mode: 0o700 });
  held = await testDatabase();
  const space = createSpaceAccount({ keptBytes: 0 });
  backend = createLayeredFiles({
    root: join(folder, 'volumes'),
    runtimeDir: join(folder, 'run'),
    log: silentLog,
    space,
    confinement: createConfinement(),
  });
  disks = createDisksService({ database: held.database, backend, log: silentLog });
});
afterEach(async () => {
  await disks.stop();
  await held.drop();
  await rm(folder, { recursive: true, force: true });
});

const argumentsFor = (trashDays = 7): string[] => [JSON.stringify(held.connection), folder, String(trashDays)];
const placeOf = (layer: LayerName): string => backend.inventory.placeOf(layer);
const notesOf = (layer: LayerName): string => `${placeOf(layer)}.extents`;

/** A volume, so that the check has something to stand on, and a raw layer with its note that no row knows. */
async function unknownLayer(): Promise<LayerName> {
  const type = await held.database.sql.selectFrom('volume_types').select('id').executeTakeFirstOrThrow();
  const home = newId();
  const row = {
    id: home,
    project_id: 'p',
    user_id: 'u',
    status: 'available',
    size_gib: 1,
    availability_zone: 'nova',
    volume_type_id: type.id,
  };
  await held.database.sql.insertInto('volumes').values(row).execute();
  await disks.createDisk(home, { topLayerId: newId(), sizeBytes: 1 << 20, fromPointId: null });
  const layer = { id: newId(), home, format: 'raw' as const };
  writeFileSync(placeOf(layer), bytes);
  writeFileSync(notesOf(layer), 'ranges');
  return layer;
}

const trashOf = async (layer: LayerName): Promise<TrashedItem[]> =>
  (await backend.inventory.listTrash()).filter((item) => item.layer?.id === layer.id);

it('a move into the trash', async () => {
  let layer: LayerName;
  await proveKills({
    script,
    points: ['trash:noted', 'trash:notes-moved', 'trash:moved'],
    async prepare() {
      layer = await unknownLayer();
      return argumentsFor();
    },
    async check() {
      expect(existsSync(placeOf(layer)) || existsSync(notesOf(layer))).toBe(false);
      const [item, ...others] = await trashOf(layer);
      expect(others).toEqual([]);
      await backend.inventory.restoreFromTrash(item?.name ?? '', { keep: false });
      expect(readFileSync(placeOf(layer)).equals(bytes)).toBe(true);
      expect(readFileSync(notesOf(layer), 'utf8')).toBe('ranges');
      await rm(placeOf(layer));
      await rm(notesOf(layer));
    },
  });
});

it('the way back of a layer that a row wants', async () => {
  let layer: LayerName;
  await proveKills({
    script,
    points: ['trash:notes-restored', 'trash:restored'],
    async prepare() {
      layer = await unknownLayer();
      await backend.inventory.trashLayer(layer, note);
      await held.database.sql
        .insertInto('layers')
        .values({ ...layer, size_bytes: bytes.length, state: 'frozen' })
        .execute();
      // Somebody needs it, or housekeeping would remove it.
      const point = { id: newId(), layer_id: layer.id, size_bytes: bytes.length };
      await held.database.sql.insertInto('points').values(point).execute();
      await held.database.sql.insertInto('point_holds').values({ point_id: point.id, holder: 'snapshot:test' }).execute();
      return argumentsFor();
    },
    async check() {
      expect(readFileSync(placeOf(layer)).equals(bytes)).toBe(true);
      expect(readFileSync(notesOf(layer), 'utf8')).toBe('ranges');
      const { damage, isShared } = (await backend.inventory.findStored(layer)) ?? {};
      expect(damage).toBeUndefined();
      // At the last instant the file has both names: then the trash gives up its one when its time is over.
      expect(isShared === ((await trashOf(layer)).length === 1)).toBe(true);
    },
  });
});

it('a deletion from the trash', async () => {
  let layer: LayerName;
  await proveKills({
    script,
    points: ['trash:emptied'],
    async prepare() {
      layer = await unknownLayer();
      await backend.inventory.trashLayer(layer, note);
      return argumentsFor(0);
    },
    async check() {
      expect(await trashOf(layer)).toEqual([]);
      expect(existsSync(placeOf(layer))).toBe(false);
    },
  });
});

it('the end of a server that no row knows', async () => {
  let volumeId: string;
  await proveKills({
    script,
    points: ['export:quit:after'],
    async prepare() {
      const layer = await unknownLayer();
      await rm(placeOf(layer));
      await rm(notesOf(layer));
      volumeId = layer.home;
      const { socketPath } = await disks.openExport(volumeId, { readOnly: false });
      execFileSync('qemu-io', ['-f', 'raw', '-c', 'write -P 9 0 64k', `nbd+unix:///disk?socket=${socketPath}`]);
      await held.database.sql.deleteFrom('volume_exports').where('volume_id', '=', volumeId).execute();
      return argumentsFor();
    },
    async check() {
      expect(await backend.inventory.listExports()).toEqual([]);
      const { socketPath } = await disks.openExport(volumeId, { readOnly: true });
      execFileSync('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 9 0 64k', `nbd+unix:///disk?socket=${socketPath}`]);
      await disks.closeExport(volumeId);
    },
  });
});
