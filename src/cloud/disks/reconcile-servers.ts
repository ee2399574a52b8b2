/**
 * Servers of disks: rows against processes. A row is written before its server is started and goes after it has ended, so the processes are listed first:
 * one without a row is one that nobody will ever ask for again.
 */
import type { ExportState, VolumeBackend } from '../../engine/volumes/contract.ts';
import type { FoundExport, LayerInventory } from '../../engine/volumes/inventory-contract.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Database } from '../database/service.ts';
import type { DisksService } from './contract.ts';
import { type DiskState, findDisk } from './layer-store.ts';
import type { VolumeLocks } from './locks.ts';
import { labelOf } from './reconcile-layer-texts.ts';
import type { FindingText, Suspicion } from './reconcile-report.ts';
import { loadServedVolumes, type ServedVolume, volumeNamed } from './reconcile-rows.ts';

const repairCommand = 'stillpoint doctor --disks --repair';

export interface ServerDeps {
  readonly database: Database;
  readonly backend: Pick<VolumeBackend, 'inspectExport'>;
  readonly inventory: LayerInventory;
  readonly locks: VolumeLocks;
  readonly disks: Pick<DisksService, 'adoptExports' | 'closeExport'>;
}

/** `graphs`: also asks each server what it serves. */
export async function suspectServers(
  deps: ServerDeps,
  { graphs }: { graphs: boolean },
): Promise<{ suspicions: Suspicion[]; count: number }> {
  const found = await deps.inventory.listExports();
  const rows = await loadServedVolumes(deps.database.sql);
  const known = new Set(rows.map(({ target }) => deps.inventory.exportNameOf(target.id)));
  const alive = new Set(found.filter(({ isAlive }) => isAlive).map(({ name }) => name));
  const withoutRow = found.filter(({ name }) => !known.has(name)).map((server) => unknownServer(deps, server));
  const withRow = rows.flatMap((row) => {
    if (!alive.has(deps.inventory.exportNameOf(row.target.id))) return [serverGone(deps, row)];
    const isUnused = row.status === 'available' && !row.isAttached && row.isOld;
    return [...(graphs ? [serverDiffers(deps, row)] : []), ...(isUnused ? [serverUnused(deps, row)] : [])];
  });
  return { suspicions: [...withoutRow, ...withRow], count: alive.size };
}

function unknownServer(deps: ServerDeps, { name, home, isAlive, description }: FoundExport): Suspicion {
  const kind = isAlive ? 'server-unknown' : 'server-leftover';
  const volumeOf = async () => (home === undefined ? undefined : await volumeNamed(deps.database.sql, home));
  return {
    key: `${kind}:${name}`,
    kind,
    subject: name,
    async confirm() {
      const still = (await deps.inventory.listExports()).some((other) => other.name === name && other.isAlive === isAlive);
      const rows = await loadServedVolumes(deps.database.sql);
      return still && !rows.some(({ target }) => deps.inventory.exportNameOf(target.id) === name);
    },
    async describe(): Promise<FindingText> {
      const volume = await volumeOf();
      const affected = volume === undefined || home === undefined ? [] : [{ type: 'volume' as const, id: home, name: volume.name }];
      const commands = [repairCommand];
      if (!isAlive) return { severity: 'notice', detail: `Left over: ${description}.`, advice: 'A repair removes it.', commands, affected };
      const detail = `A server of a disk runs that no row knows: ${description}.`;
      const advice =
        volume?.isAttached === true
          ? 'The volume is attached, so a machine may be using it; was the database put back to an earlier state? Shut the machine down, then repair. Everything written is flushed before the server ends.'
          : 'Nobody can have been told where it listens. A repair ends it after flushing.';
      return { severity: 'warning', detail, advice, commands, affected };
    },
    async repair({ automatic }) {
      if (automatic && isAlive && (await volumeOf())?.isAttached === true) return undefined;
      await deps.inventory.endFoundExport(name);
      return { done: isAlive ? 'Ended, with everything flushed.' : 'Removed.', isRepaired: true };
    },
  };
}

function serverGone(deps: ServerDeps, row: ServedVolume): Suspicion {
  const volume = labelOf('volume', { id: row.volumeId, name: row.volumeName });
  return {
    key: `server-gone:${row.target.id}`,
    kind: 'server-gone',
    subject: row.volumeId,
    // Under the lock nobody is just starting it.
    confirm: async () => (await deps.locks.tryWithVolume(row.volumeId, () => hasNoServer(deps, row))) === true,
    describe: async () => ({
      severity: 'warning',
      detail: `The server of ${volume} has ended although nobody closed it. Whoever used the disk has lost it; what was flushed is there.`,
      advice: row.isAttached
        ? 'A repair puts the rows right. Then connect the volume again where it was used (a machine: stop and start it), and check its file system.'
        : 'A repair puts the rows right.',
      commands: [repairCommand],
      affected: [{ type: 'volume', id: row.volumeId, name: row.volumeName }],
    }),
    async repair() {
      await deps.disks.adoptExports();
      const isForgotten = !(await loadServedVolumes(deps.database.sql)).some(({ target }) => target.id === row.target.id);
      return isForgotten ? { done: 'The rows follow: the volume is served anew when it is connected.', isRepaired: true } : undefined;
    },
  };
}

async function hasNoServer({ database, inventory }: ServerDeps, { target }: ServedVolume): Promise<boolean> {
  const isThere = (await loadServedVolumes(database.sql)).some((row) => row.target.id === target.id);
  const name = inventory.exportNameOf(target.id);
  return isThere && !(await inventory.listExports()).some((found) => found.name === name && found.isAlive);
}

/** Only suspected: whether it is so is asked under the volume's lock. */
function serverDiffers(deps: ServerDeps, row: ServedVolume): Suspicion {
  let difference: string | undefined;
  return {
    key: `server-differs:${row.target.id}`,
    kind: 'server-differs',
    subject: row.volumeId,
    async confirm() {
      difference = await deps.locks.tryWithVolume(row.volumeId, async (sql) => {
        const disk = await findDisk(sql, row.volumeId);
        if (disk?.exported === undefined || disk.exported.target.id !== row.target.id || disk.exported.target.processId === 0)
          return undefined;
        const state = await stateOf(deps, disk);
        // A merge below a running server does not need the lock all the time.
        return shapeOf(await findDisk(sql, row.volumeId)) === shapeOf(disk) ? differenceOf(disk, state) : undefined;
      });
      return difference !== undefined;
    },
    describe: async () => ({
      severity: 'error',
      detail: `The server of ${labelOf('volume', { id: row.volumeId, name: row.volumeName })} does not serve what the rows say: ${difference}.`,
      advice:
        'Snapshots and backups of it fail until this is settled. Shut down whatever uses the volume and disconnect it; then check again.',
      commands: [`stillpoint volume disconnect ${row.volumeId}`, 'stillpoint doctor --disks'],
      affected: [{ type: 'volume', id: row.volumeId, name: row.volumeName }],
    }),
  };
}

const shapeOf = (disk: DiskState | undefined): string => (disk?.chain ?? []).map(({ id, state }) => `${id} ${state}`).join();

async function stateOf({ backend }: ServerDeps, disk: DiskState): Promise<ExportState | string> {
  try {
    return disk.exported === undefined ? '' : await backend.inspectExport(disk.exported.target);
  } catch (error) {
    return messageOf(error);
  }
}

/** A layer that is being merged may be in the server's graph or not; an overlay that is planned may be on top already. */
function differenceOf(disk: DiskState, state: ExportState | string): string | undefined {
  if (typeof state === 'string') return `it cannot be asked (${state})`;
  if (!state.alive) return undefined;
  const moving = new Set(disk.chain.filter((layer) => layer.state === 'merging').map(({ id }) => id));
  const still = (ids: readonly string[]): string => ids.filter((id) => !moving.has(id)).join(', ');
  const rows = disk.chain.map(({ id }) => id);
  const allowed = [still(rows), ...(disk.plannedOverlay === undefined ? [] : [still([...rows, disk.plannedOverlay.id])])];
  const served = still(state.layerIds);
  return allowed.includes(served) ? undefined : `it has the layers ${served}, the rows have ${allowed[0]}`;
}

function serverUnused(deps: ServerDeps, row: ServedVolume): Suspicion {
  return {
    key: `server-unused:${row.target.id}`,
    kind: 'server-unused',
    subject: row.volumeId,
    confirm: async () =>
      (await loadServedVolumes(deps.database.sql)).some(({ target, isAttached }) => target.id === row.target.id && !isAttached),
    describe: async () => ({
      severity: 'warning',
      detail: `${labelOf('volume', { id: row.volumeId, name: row.volumeName })} is available and attached to nothing, and is still being served.`,
      advice:
        'If nobody uses it, disconnect it. A repair does the same: the server ends after flushing, and a client that is still there loses the disk.',
      commands: [`stillpoint volume disconnect ${row.volumeId}`],
      affected: [{ type: 'volume', id: row.volumeId, name: row.volumeName }],
    }),
    async repair({ automatic }) {
      if (automatic) return undefined;
      await deps.disks.closeExport(row.volumeId);
      return { done: 'Ended, with everything flushed.', isRepaired: true };
    },
  };
}
