/** A small cloud, what compares its disks with its rows, and hands that break things. */
import { copyFile, rename } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { sql as query } from 'kysely';
import { createVolumeLocks } from '../../src/cloud/disks/locks.ts';
import { createReconciler, type Reconciler, type ReconcilerDeps } from '../../src/cloud/disks/reconcile.ts';
import type { DiskReport, Finding } from '../../src/cloud/disks/reconcile-service.ts';
import type { Volume } from '../../src/cloud/volumes/service.ts';
import type { LayerName } from '../../src/engine/volumes/inventory-contract.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type BackupCloud, callerOf, startBackupCloud } from './backup-cloud.ts';

export const owner = callerOf('p1', ['admin']);
export const gib = 2 ** 30;

export interface BrokenCloud {
  readonly cloud: BackupCloud;
  readonly reconciler: Reconciler;
  /** Another one, with other settings. */
  reconcilerWith(changes: Partial<ReconcilerDeps>): Reconciler;
  check(options?: { repair?: boolean; deep?: boolean }): Promise<DiskReport>;
  /** A volume with a name and some bytes. */
  volume(name: string): Promise<Volume>;
  /** The layers of a volume's disk from the bottom to the top. */
  chain(volumeId: string): Promise<LayerName[]>;
  placeOf(layer: LayerName): string;
  moveAway(layer: LayerName): Promise<{ back(): Promise<void> }>;
  /** Copies a layer's file under a name that no row knows. */
  plantUnknown(like: LayerName): Promise<LayerName>;
  /** Runs SQL without foreign keys, as a damaged database would look. */
  breakRows(statement: string): Promise<void>;
  /** Housekeeping believes the rows: while they are broken it would remove what they do not name. */
  withoutHousekeeping(work: () => Promise<void>): Promise<void>;
  serve(volumeId: string): Promise<{ processId: number; socketPath: string; exportId: string }>;
  stop(): Promise<void>;
}

export async function startBrokenCloud(): Promise<BrokenCloud> {
  const cloud = await startBackupCloud();
  const { database } = cloud.held;
  const unlimited = ['volumes', 'gigabytes', 'snapshots'].map((resource) => ({
    project_id: owner.projectId ?? '',
    resource,
    hard_limit: -1,
  }));
  await database.sql.insertInto('quota_limits').values(unlimited).execute();
  const reconcilerWith = (changes: Partial<ReconcilerDeps>): Reconciler =>
    createReconciler({
      database,
      backend: cloud.backend,
      inventory: cloud.backend.inventory,
      disks: cloud.disks,
      volumes: cloud.volumes,
      clock: systemClock,
      log: silentLog,
      trashDays: 7,
      settleMs: 20,
      ...changes,
    });
  const reconciler = reconcilerWith({});
  const locks = createVolumeLocks(database);
  const placeOf = (layer: LayerName): string => cloud.backend.inventory.placeOf(layer);

  return {
    cloud,
    reconciler,
    reconcilerWith,
    check: ({ repair = false, deep = false } = {}) => reconciler.check({ repair, deep, signal: new AbortController().signal }),
    async volume(name) {
      const order = { name, description: null, sizeGib: 1, volumeType: null, availabilityZone: null, metadata: {} };
      const { id } = await cloud.volumes.create(owner, { ...order, source: { kind: 'blank' } });
      const volume = await cloud.settledVolume(owner, id);
      await cloud.write(id, await cloud.makeModel(`model-${id}`), [{ offset: 0, bytes: Buffer.alloc(65_536, 7) }]);
      return volume;
    },
    async chain(volumeId) {
      const { rows } = await query<LayerName>`
        WITH RECURSIVE chain AS (
          SELECT layers.*, 0 AS depth FROM layers JOIN volumes ON layers.id = top_layer_id WHERE volumes.id = ${volumeId}
          UNION ALL SELECT below.*, depth + 1 FROM layers AS below JOIN chain ON below.id = chain.parent_id
        ) SELECT id, home, format FROM chain ORDER BY depth DESC`.execute(database.sql);
      return rows;
    },
    placeOf,
    async moveAway(layer) {
      const elsewhere = `${cloud.folder}/away-${newId()}`;
      await rename(placeOf(layer), elsewhere);
      return { back: () => rename(elsewhere, placeOf(layer)) };
    },
    async plantUnknown(like) {
      const layer = { ...like, id: newId() };
      await copyFile(placeOf(like), placeOf(layer));
      return layer;
    },
    async breakRows(statement) {
      await database.sql.transaction().execute(async (tx) => {
        await query`SET LOCAL session_replication_role = replica`.execute(tx);
        await query.raw(statement).execute(tx);
      });
    },
    async withoutHousekeeping(work) {
      const workAlone = async (): Promise<true> => {
        await work();
        return true;
      };
      while ((await locks.tryTidy(workAlone)) === undefined) await pause(20);
    },
    async serve(volumeId) {
      const { socketPath } = await cloud.disks.openExport(volumeId, { readOnly: false });
      const row = await database.sql.selectFrom('volume_exports').selectAll().where('volume_id', '=', volumeId).executeTakeFirstOrThrow();
      return { socketPath, processId: row.process_id, exportId: row.export_id };
    },
    async stop() {
      await reconciler.stop();
      for (const { volume_id } of await database.sql.selectFrom('volume_exports').select('volume_id').execute()) {
        await cloud.disks.closeExport(volume_id);
      }
      await cloud.stop();
    },
  };
}

/** Kinds and subjects, for comparing at a glance. */
export const seen = (report: DiskReport): string[] => report.findings.map(({ kind, subject }) => `${kind} ${subject}`);

export function only(report: DiskReport, kind: Finding['kind']): Finding {
  const found = report.findings.filter((finding) => finding.kind === kind);
  if (found.length !== 1 || found[0] === undefined) throw new Error(`not one ${kind}: ${JSON.stringify(report.findings, null, 2)}`);
  return found[0];
}
