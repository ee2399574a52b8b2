/** The disks behind volumes: puts the parts of this folder together. `contract.ts` says what each call promises. */
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { DisksService, Quiescence } from './contract.ts';
import { createDisk, type DiskChangesDeps, dropDisk, layerOfPoint, replaceDisk, resizeDisk } from './disk-changes.ts';
import { distrust } from './distrust.ts';
import { createExports, type Exports } from './exports.ts';
import { freezeDisk } from './freeze.ts';
import { freezeTogether } from './freeze-together.ts';
import { createHousekeeping } from './housekeeping.ts';
import { createJournals } from './journal.ts';
import { chainOf, findDisk, type LayerRow, layerOf } from './layer-store.ts';
import { createVolumeLocks, lockTree } from './locks.ts';
import { createMerges } from './merge.ts';
import { addHold, addRoot, findConsistency, findPoint, removeHold, removeRootsOf } from './point-store.ts';
import { createRestless } from './restless.ts';
import { createDiskFigures } from './space.ts';
import { createBase, createOverlay, type WrittenLayersDeps } from './written-layers.ts';

export type {
  ChangesSince,
  DiskSpace,
  DisksService,
  DiskUsage,
  FreezeOfOne,
  KnownRoot,
  PointConsistency,
  Quiescence,
} from './contract.ts';

export interface DisksDeps {
  readonly database: Database;
  readonly backend: VolumeBackend;
  /** Left out: nobody who has a disk open can be made to stand still. */
  readonly quiescence?: Quiescence;
  readonly log: Log;
}

const noQuiescence: Quiescence = {
  async around(_volumeIds, work) {
    await work();
    return { consistency: 'crash-consistent', freezeMs: null };
  },
};

/** With what only the composition root and tests need. */
export interface RunningDisks extends DisksService {
  /** Waits for journals that are being computed, and for a running `tidy`, whose merge is cancelled. */
  stop(): Promise<void>;
  /** Waits for journals that are being computed. */
  idle(): Promise<void>;
}

export function createDisksService(deps: DisksDeps): RunningDisks {
  const { database, backend, quiescence = noQuiescence, log } = deps;
  const locks = createVolumeLocks(database);
  const journals = createJournals({ database, backend, log });
  const follow: Exports['follow'] = (sql, disk) => exports.follow(sql, disk);
  const merges = createMerges({ database, backend, locks, journals, follow, log });
  const exports = createExports({ database, backend, locks, merges, log });
  const restless = createRestless();
  const housekeeping = createHousekeeping({ database, backend, locks, merges, exports, journals, restless, log });
  const changes: DiskChangesDeps = { backend, exports };
  const figures = createDiskFigures({ database, backend });

  /** The layers that a held point is read through. A merge that works on them gives way. */
  const heldChain = async (pointId: string): Promise<LayerRow[]> => {
    const point = await findPoint(database.sql, pointId);
    if (point?.held !== true) throw new Error(`nobody holds point ${pointId}, so its bytes may go at any time`);
    const chain = await database.sql.transaction().execute(async (tx) => {
      await lockTree(tx, 'shared');
      return await chainOf(tx, await layerOfPoint(tx, pointId));
    });
    await merges.leave(chain);
    return await chainOf(database.sql, await layerOfPoint(database.sql, pointId));
  };
  const written: WrittenLayersDeps = { backend, database, heldChain };

  /** A merge that rewrites the file of a volume's top layer gives way to whoever wants the volume. */
  const alone: typeof locks.withVolume = (volumeId, work) => {
    merges.cancelOfVolume(volumeId);
    return locks.withVolume(volumeId, work);
  };

  return {
    createDisk: (volumeId, plan) => alone(volumeId, (sql) => createDisk(changes, sql, volumeId, plan)),
    async freeze(volumeId, plan) {
      const deps = { backend, quiescence, log, follow: exports.follow };
      restless.frozen(volumeId);
      if (await alone(volumeId, (sql) => freezeDisk(deps, sql, volumeId, plan))) journals.computeSoon(plan.pointId);
    },
    async freezeTogether(plans) {
      for (const { volumeId } of plans) {
        restless.frozen(volumeId);
        merges.cancelOfVolume(volumeId);
      }
      const deps = { backend, quiescence, log, follow: exports.follow };
      const volumeIds = plans.map(({ volumeId }) => volumeId);
      const made = await locks.withVolumes(volumeIds, (sql) => freezeTogether(deps, sql, plans));
      for (const pointId of made) journals.computeSoon(pointId);
    },
    createBase: (plan, write) => createBase(written, plan, write),
    createOverlay: (plan, write) => createOverlay(written, plan, write),
    async replaceDisk(volumeId, plan) {
      await alone(volumeId, (sql) => replaceDisk(changes, sql, volumeId, plan));
      housekeeping.nudge();
    },
    resize: (volumeId, sizeBytes) => alone(volumeId, (sql) => resizeDisk(changes, sql, volumeId, sizeBytes)),
    sizeOf: async (volumeId) => (await findDisk(database.sql, volumeId))?.top.sizeBytes,
    async dropDisk(volumeId) {
      await alone(volumeId, (sql) => dropDisk(changes, sql, volumeId));
      housekeeping.nudge();
    },

    consistencyOf: (pointId) => findConsistency(database.sql, pointId),
    hold: (tx, pointId, holder) => addHold(tx.sql, pointId, holder),
    async release(tx, pointId, holder) {
      await removeHold(tx.sql, pointId, holder);
      tx.afterCommit(housekeeping.nudge);
    },
    tidy: housekeeping.tidy,
    spaceInUse: figures.total,
    usageOf: figures.usageOf,

    sourceOf: async (pointId) => await backend.source((await heldChain(pointId)).map(layerOf)),
    recordRoot: (tx, pointId, known) => addRoot(tx.sql, pointId, known),
    async forgetSession(tx, session) {
      await removeRootsOf(tx.sql, session);
      tx.afterCommit(housekeeping.nudge);
    },
    changesSince: journals.changesSince,
    distrust: (pointId, finding) => distrust({ database, backend }, pointId, finding),

    openExport: exports.open,
    async closeExport(volumeId) {
      await exports.close(volumeId);
      // What could not be merged or removed while the disk was open.
      housekeeping.nudge();
    },
    async adoptExports() {
      await exports.adopt();
      housekeeping.nudge();
    },
    idle: journals.idle,
    async stop() {
      await housekeeping.stop();
      await journals.idle();
    },
  };
}
