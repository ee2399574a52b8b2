/**
 * Servers of volumes' bytes, and how the rows follow them.
 *
 * A server outlives the service. So it may serve more than the rows say: a freeze may have put an overlay on top just before the service died.
 * `follow` asks the server what it serves and completes the rows of that freeze. A server that is dead cannot be asked; then the
 * overlay's file tells: when it was made, it may hold acknowledged writes, and it becomes the top (should it be empty, that changes nothing).
 * And it may serve less: a merge may have taken a layer out of its chain. Should it have died since, the layer is still there, and hides
 * what was merged.
 *
 * A server that died is not started again here: its clients are gone with their connections, and the volume keeps its attachment. The
 * next `openExport` (`os-initialize_connection`) starts a new one, at a new address.
 */
import type { DiskExport, ExportState, VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import { conflict, messageOf } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import { recordFreeze } from './freeze.ts';
import { type DiskState, type ExportRow, findDisk, type LayerRow, layerOf, loadDisk } from './layer-store.ts';
import { lockTree, type Sql, type VolumeLocks } from './locks.ts';
import type { Merges } from './merge.ts';

export interface Exports {
  follow(sql: Sql, disk: DiskState): Promise<DiskState>;
  open(volumeId: string, options: { readOnly: boolean }): Promise<{ socketPath: string }>;
  close(volumeId: string): Promise<void>;
  /** Under the volume's lock already. */
  closeLocked(sql: Sql, disk: DiskState): Promise<DiskState>;
  adopt(): Promise<void>;
}

export interface ExportsDeps {
  readonly database: Database;
  readonly backend: VolumeBackend;
  readonly locks: VolumeLocks;
  readonly merges: Merges;
  readonly log: Log;
}

export function createExports(deps: ExportsDeps): Exports {
  const { database, backend, locks, merges, log } = deps;

  async function follow(sql: Sql, disk: DiskState): Promise<DiskState> {
    if (disk.exported === undefined) return disk;
    if (disk.exported.target.processId === 0) {
      await endUnfinished(disk, disk.exported);
      await forgetExport(sql, disk.volumeId);
      return await loadDisk(sql, disk.volumeId);
    }
    const state = await backend.inspectExport(disk.exported.target);
    if (await mustRecord(disk, disk.exported, state)) await recordPlannedFreeze(sql, disk);
    if (state.alive) {
      await merges.catchUp(sql, await loadDisk(sql, disk.volumeId), state.layerIds);
    } else {
      log.warn({ volumeId: disk.volumeId }, 'the server of a disk is gone');
      // It may have died only half: what is left of it (a socket, a lock) would be in the way of the next one.
      await backend.closeExport(disk.exported.target);
      await forgetExport(sql, disk.volumeId);
    }
    return await loadDisk(sql, disk.volumeId);
  }

  /** Starting it was interrupted. If it runs, nobody was ever told where; the backend finds it by its id when it is asked to start it again. */
  async function endUnfinished(disk: DiskState, { target, readOnly }: ExportRow): Promise<void> {
    await backend.closeExport(await backend.openExport(target.id, disk.chain.map(layerOf), { readOnly }));
  }

  async function mustRecord(disk: DiskState, exported: ExportRow, state: ExportState): Promise<boolean> {
    const overlay = disk.plannedOverlay;
    if (exported.readOnly) return false;
    if (!state.alive) return overlay !== undefined && (await wasMade(disk, overlay));
    const served = state.layerIds.at(-1);
    if (served === disk.top.id) return false;
    if (overlay !== undefined && served === overlay.id) return true;
    throw new Error(`the server of volume ${disk.volumeId} serves layer ${served}, which is not its top ${disk.top.id}`);
  }

  /** Layers appear under their name complete or not at all. A file that is there but cannot be read stops everything: it may hold data. */
  async function wasMade(disk: DiskState, overlay: LayerRow): Promise<boolean> {
    if ((await backend.allocatedBytes(layerOf(overlay))) === 0) return false;
    await backend.changesOf([...disk.chain, overlay].map(layerOf));
    return true;
  }

  async function recordPlannedFreeze(sql: Sql, disk: DiskState): Promise<void> {
    const overlay = disk.plannedOverlay;
    const point = await sql.selectFrom('points').select('id').where('layer_id', '=', disk.top.id).executeTakeFirst();
    if (overlay === undefined || point === undefined) throw new Error(`volume ${disk.volumeId}: a freeze has lost its plan`);
    await recordFreeze(sql, disk.volumeId, { frozenId: disk.top.id, topId: overlay.id, pointId: point.id });
    log.info({ volumeId: disk.volumeId, pointId: point.id }, 'completed the rows of an interrupted freeze');
  }

  async function forgetExport(sql: Sql, volumeId: string): Promise<void> {
    await sql.deleteFrom('volume_exports').where('volume_id', '=', volumeId).execute();
  }

  async function closeLocked(sql: Sql, disk: DiskState): Promise<DiskState> {
    const settled = await follow(sql, disk);
    if (settled.exported === undefined) return settled;
    await backend.closeExport(settled.exported.target);
    crashPoint('export:closed');
    await forgetExport(sql, disk.volumeId);
    return { ...settled, exported: undefined };
  }

  /** The row comes first: from then on no merge touches the chain, and a server that outlives a crash right here can be found. */
  async function start(sql: Sql, volumeId: string, readOnly: boolean): Promise<string> {
    const exportId = newId();
    const marked = await sql.transaction().execute(async (tx) => {
      await lockTree(tx, 'shared');
      const row = { volume_id: volumeId, export_id: exportId, socket_path: '', monitor_path: '', process_id: 0, read_only: readOnly };
      await tx.insertInto('volume_exports').values(row).execute();
      const disk = await loadDisk(tx, volumeId);
      await tx.updateTable('layers').set({ allocated_bytes: null }).where('id', '=', disk.top.id).execute();
      return disk;
    });
    let target: DiskExport | undefined;
    try {
      await merges.leave(marked.chain);
      const disk = await loadDisk(sql, volumeId);
      crashPoint('export:planned');
      target = await backend.openExport(exportId, disk.chain.map(layerOf), { readOnly });
      crashPoint('export:started');
      await sql
        .updateTable('volume_exports')
        .set({ socket_path: target.socketPath, monitor_path: target.monitorPath, process_id: target.processId })
        .where('volume_id', '=', volumeId)
        .execute();
      return target.socketPath;
    } catch (error) {
      log.warn({ volumeId, error: messageOf(error) }, 'a disk could not be served');
      // Without its row nobody would find it again.
      if (target !== undefined) await backend.closeExport(target);
      await forgetExport(sql, volumeId);
      throw error;
    }
  }

  /** Whoever held them back is dead. Whatever else is the matter with the disk, clients go on. */
  async function resumeWrites(volumeId: string, { target }: ExportRow): Promise<void> {
    await backend.resumeWrites(target).catch((error: unknown) => {
      log.warn({ volumeId, error: messageOf(error) }, 'writes that a dead process held back could not be let go');
    });
  }

  return {
    follow,
    closeLocked,
    async open(volumeId, { readOnly }) {
      merges.cancelOfVolume(volumeId);
      return await locks.withVolume(volumeId, async (sql) => {
        let disk = await follow(sql, await loadDisk(sql, volumeId));
        if (disk.exported !== undefined && disk.exported.readOnly !== readOnly) {
          if (await isAttached(sql, volumeId)) throw conflict(`Volume ${volumeId} is being served in another mode.`);
          disk = await closeLocked(sql, disk);
        }
        return { socketPath: disk.exported?.target.socketPath ?? (await start(sql, volumeId, readOnly)) };
      });
    },
    async close(volumeId) {
      merges.cancelOfVolume(volumeId);
      await locks.withVolume(volumeId, async (sql) => {
        const disk = await findDisk(sql, volumeId);
        if (disk !== undefined) await closeLocked(sql, disk);
      });
    },
    async adopt() {
      const rows = await database.sql.selectFrom('volume_exports').select('volume_id').execute();
      for (const { volume_id: volumeId } of rows) {
        await locks
          .withVolume(volumeId, async (sql) => {
            const disk = await loadDisk(sql, volumeId);
            if (disk.exported !== undefined) await resumeWrites(volumeId, disk.exported);
            await follow(sql, disk);
          })
          .catch((error: unknown) => log.error({ volumeId, error: messageOf(error) }, 'the server of a disk could not be adopted'));
      }
    },
  };
}

/** An attachment that is only reserved has not been told yet where the disk is. */
export async function isAttached(sql: Sql, volumeId: string): Promise<boolean> {
  const attachments = sql.selectFrom('volume_attachments').select('id').where('volume_id', '=', volumeId);
  return (await attachments.where('status', '<>', 'reserved').executeTakeFirst()) !== undefined;
}
