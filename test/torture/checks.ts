/** What must hold between steps, and what must be left when everything was deleted: nothing. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { run } from '../support/clients.ts';
import { type Contents, sectorBytes } from './contents.ts';
import { Found, mustEqual } from './model.ts';
import { readStored, withStored } from './stored.ts';
import type { World } from './world.ts';

/** A few, chosen anew each time: each costs the start of a program. */
const checkedFilesMax = 4;

/** Compares all there is with the model. `everything`: also backups that were compared before. */
export async function checkWorld(world: World, options: { everything: boolean }): Promise<void> {
  world.counts.checks += 1;
  await world.disks.order('idle', undefined);
  await checkFiles(world);
  await checkJournals(world);
  for (const point of world.points.values()) mustEqual(point.name, await world.readPoint(point.pointId), point.contents);
  for (const volume of world.volumes.values()) volume.compare(await world.readVolume(volume));
  await checkBackups(world, options);
  await world.disks.order('tidy', undefined);
  await checkChains(world);
  await checkFrozenFiles(world);
}

interface LayerRow {
  readonly id: string;
  readonly parent_id: string | null;
  readonly home: string;
  readonly format: string;
  readonly state: string;
}

const layerRows = (world: World): Promise<LayerRow[]> =>
  world.database.sql.selectFrom('layers').select(['id', 'parent_id', 'home', 'format', 'state']).execute();

const pathOf = (world: World, { id, home, format }: LayerRow): string => join(world.plan.volumesPath, home, `${id}.${format}`);

async function layerFiles(world: World): Promise<string[]> {
  const entries = await readdir(world.plan.volumesPath, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Rows are written before files and removed after them; so what is missing on one side both before and after a look at the other is missing. */
async function checkFiles(world: World): Promise<void> {
  const before = await layerRows(world);
  const files = new Set(await layerFiles(world));
  const after = await layerRows(world);
  const alive = (rows: LayerRow[]) => rows.filter(({ state }) => ['top', 'frozen', 'merging'].includes(state));
  const still = new Set(alive(after).map(({ id }) => id));
  for (const row of alive(before)) {
    if (still.has(row.id) && !files.has(pathOf(world, row))) throw new Found(`layer ${row.id} (${row.state}) has no file`);
  }
  const known = new Set([...before, ...after].map((row) => pathOf(world, row)));
  for (const file of files) {
    const owner = file.replace(/(?:\.open|\.extents|\.kept)?(?:\.new)?$/, '');
    if (!known.has(file) && !known.has(owner)) throw new Found(`file ${file} belongs to no row`);
  }
}

/** Whoever looks at a row's journal believes that nothing else changed. */
async function checkJournals(world: World): Promise<void> {
  const rows = await world.database.sql.selectFrom('points').select(['id', 'parent_id', 'journal']).execute();
  for (const { id, parent_id: parentId, journal } of rows) {
    const now = world.everyPoint.get(id);
    const before = parentId === null ? undefined : world.everyPoint.get(parentId);
    if (journal === null || now === undefined || before === undefined) continue;
    const missed = missedSectors(now, before, journal);
    if (missed !== undefined) throw new Found(`the journal of point ${id} (from ${parentId}) misses sector ${missed}, which changed`);
  }
}

/** The first sector that differs between two moments and is not in the encoded set of changes. */
export function missedSectors(now: Contents, before: Contents, encoded: Uint8Array): number | undefined {
  const changed = ExtentSet.decode(encoded);
  for (const sector of now.differences(before)) {
    const start = sector * sectorBytes;
    if (start < now.sizeBytes && !changed.covers(start, start + sectorBytes)) return sector;
  }
  return undefined;
}

/** A commit never changes, so once is enough while the history runs. */
async function checkBackups(world: World, { everything }: { everything: boolean }): Promise<void> {
  const wanted = [...world.backups.values()].filter(({ isVerified }) => everything || !isVerified);
  if (wanted.length === 0) return;
  await withStored(world.plan.repository, async (stored, repository) => {
    const bySession = new Map(stored.map((one) => [one.session, one]));
    for (const backup of wanted) {
      const one = bySession.get(backup.session);
      if (one === undefined) throw new Found(`backup ${backup.name} is not in the repository`);
      const observed = await readStored(repository, one, join(world.folder, `restored-${backup.session}`));
      world.counts.bytesCompared += observed.sizeBytes;
      mustEqual(`backup ${backup.name}`, observed, backup.contents);
      backup.isVerified = true;
    }
  });
}

/**
 * At most 2 × named points + 2 layers for a disk, open or not. What cannot be merged counts as named: where disks part ways, and, while the disk is open,
 * layers of other homes. Who shares a chain with another disk that is open waits.
 */
async function checkChains(world: World): Promise<void> {
  const rows = await layerRows(world);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const children = Map.groupBy(rows, ({ parent_id: parentId }) => parentId);
  const held = await world.database.sql.selectFrom('points').innerJoin('point_holds', 'point_id', 'points.id').select('layer_id').execute();
  const heldIds = new Set(held.map(({ layer_id: layerId }) => layerId));
  const open = await world.database.sql.selectFrom('volume_exports').select('volume_id').execute();
  const openIds = new Set(open.map(({ volume_id: volumeId }) => volumeId));
  for (const volume of world.volumes.values()) {
    const row = await world.database.sql.selectFrom('volumes').select('top_layer_id').where('id', '=', volume.id).executeTakeFirst();
    const chain: LayerRow[] = [];
    for (let at = byId.get(row?.top_layer_id ?? ''); at !== undefined; at = byId.get(at.parent_id ?? '')) chain.push(at);
    if (chain.some(({ id }) => isOpenAbove(id, volume.id))) continue;
    const isFixed = ({ id, home }: LayerRow): boolean =>
      heldIds.has(id) || (children.get(id)?.length ?? 0) > 1 || (openIds.has(volume.id) && home !== volume.id);
    const bound = 2 * chain.filter(isFixed).length + 2;
    if (chain.length > bound) {
      throw new Found(`${volume.name} (${openIds.has(volume.id) ? 'open' : 'closed'}) has ${chain.length} layers, more than ${bound}`);
    }
  }

  function isOpenAbove(id: string, except: string): boolean {
    return (children.get(id) ?? []).some(
      (child) => (child.state === 'top' && child.home !== except && openIds.has(child.home)) || isOpenAbove(child.id, except),
    );
  }
}

/** Frozen layers without a mark of an unclean end are whole, leaks included. */
async function checkFrozenFiles(world: World): Promise<void> {
  const frozen = (await layerRows(world)).filter(({ state, format }) => state === 'frozen' && format === 'qcow2');
  const chosen = frozen.slice(-checkedFilesMax);
  for (const row of chosen) {
    const path = pathOf(world, row);
    if (await exists(`${path}.open`)) continue;
    const node = { driver: 'qcow2', backing: null, file: { driver: 'file', filename: path, locking: 'off' }, 'read-only': true };
    const { code, stderr, stdout } = await run('qemu-img', ['check', '-q', `json:${JSON.stringify(node)}`]);
    if (code === 0 || !(await exists(path)) || (await exists(`${path}.open`))) continue;
    throw new Found(`qemu-img check of frozen layer ${row.id} ends with ${code}: ${stderr}${stdout}`);
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Deletes everything there is, and looks at what is left. */
export async function clearWorld(world: World): Promise<void> {
  for (const volume of [...world.volumes.values()]) {
    await volume.client?.close();
    await world.disks.order('closeExport', { volumeId: volume.id });
    await world.disks.order('dropDisk', { volumeId: volume.id });
    await world.database.sql.deleteFrom('volumes').where('id', '=', volume.id).execute();
    world.volumes.delete(volume.name);
  }
  for (const { pointId, holder } of world.points.values()) await world.disks.order('release', { pointId, holder });
  for (const { backupId } of world.backups.values()) {
    await world.disks.order('forget', { sessions: world.sessions.get(backupId) ?? [] });
  }
  await world.disks.order('tidy', undefined);
  await world.disks.order('tidy', undefined);
  await mustBeEmpty(world);
}

async function mustBeEmpty(world: World): Promise<void> {
  const { sql } = world.database;
  const left = (what: string, things: readonly unknown[]): void => {
    if (things.length > 0) throw new Found(`left over after everything was deleted: ${what} ${JSON.stringify(things)}`);
  };
  left('holds', await sql.selectFrom('point_holds').selectAll().execute());
  left('layers', await layerRows(world));
  left('files', await layerFiles(world));
  left('points', await sql.selectFrom('points').select(['id', 'parent_id', 'layer_id']).execute());
  left('roots', await sql.selectFrom('point_roots').selectAll().execute());
  left('exports', await sql.selectFrom('volume_exports').selectAll().execute());
  left('folders of servers', await readdir(world.plan.runtimeDir));
  left('storage daemons', await world.daemons());
  left('commits', await withStored(world.plan.repository, async (stored) => stored.map(({ session }) => session)));
}
