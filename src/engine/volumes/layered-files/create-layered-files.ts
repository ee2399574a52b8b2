/**
 * Volumes as files: a tree of immutable layers, of which only tops are written. Bases are raw, or uploaded qcow2 files; everything else
 * is a qcow2 overlay of 64 KiB clusters whose 2 KiB subclusters keep scattered small writes small.
 *
 * Everything that a call reports as done is on the disk: files are synced, and so are their folders. Chains are always opened by explicit
 * lists; what headers name is for people with `qemu-img`, and checked when it matters.
 */
import { mkdir, rm, rmdir, stat, truncate } from 'node:fs/promises';
import { removeDurably, replaceFileDurably, syncFile, syncFolder } from '../../../lib/durable-files.ts';
import type { Log } from '../../../lib/log.ts';
import { createTurns } from '../../../lib/turns.ts';
import type { Confinement } from '../../confinement/run-confined.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import { layerChanges } from '../../disk/layer-content.ts';
import { extentsFileOf } from '../../disk/raw-layer.ts';
import { writeEmptyQcow2 } from '../../disk/write-qcow2.ts';
import type { SpaceAccount } from '../../space/contract.ts';
import type { Layer, VolumeBackend } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { explainFullDisk } from '../full-disk.ts';
import type { LayerInventory } from '../inventory-contract.ts';
import { checkRuntimeDir } from './export-folder.ts';
import { closeExport, type ExportDeps, inspectExport, openExport } from './exports.ts';
import { createFoundExports } from './found-exports.ts';
import { createLayerChecks } from './layer-check.ts';
import { createLayerInventory, notesOf } from './layer-inventory.ts';
import { createLayerPaths, type LayerFile } from './layer-paths.ts';
import { type LiveMergeDeps, mergeExport } from './live-merge.ts';
import { snapshotExport } from './live-snapshot.ts';
import { mergeLayers } from './merge.ts';
import { defaultMergePace } from './merge-pace.ts';
import { growthByMerge } from './merge-space.ts';
import { createOfflineTools } from './offline-tools.ts';
import { createOpenMarks } from './open-marks.ts';
import { createTrash } from './trash.ts';
import { pauseWrites, resumeWrites } from './write-pause.ts';
import { prepareWrittenLayer, sealWrittenLayer } from './written-layers.ts';

export interface LayeredFilesOptions {
  /** Holds one folder for each home. */
  readonly root: string;
  /** For sockets: short, private, and emptied by a reboot. */
  readonly runtimeDir: string;
  readonly log: Log;
  readonly space: SpaceAccount;
  readonly confinement: Confinement;
  /** A pace of its own for merges below connected clients, whatever these do. */
  readonly liveMergeBytesPerSecond?: number;
}

/** What a layer takes before it holds anything, with the tables that its first write makes. */
const newLayerBytes = 2 ** 20;

export interface LayeredFiles extends VolumeBackend {
  readonly inventory: LayerInventory;
}

export function createLayeredFiles(options: LayeredFilesOptions): LayeredFiles {
  checkRuntimeDir(options.runtimeDir);
  const paths = createLayerPaths(options.root);
  const marks = createOpenMarks(paths, options.confinement);
  const tools = createOfflineTools(options.confinement);
  const deps: ExportDeps = { paths, marks, confinement: options.confinement, runtimeDir: options.runtimeDir, log: options.log };
  // A monitor serves one client at a time.
  const alone = createTurns<string>();
  const ownPace = options.liveMergeBytesPerSecond;
  const pace = ownPace === undefined ? defaultMergePace : { whileWritten: ownPace, whileIdle: ownPace };
  const liveMerges: LiveMergeDeps = { ...deps, alone, pace };

  const withSpaceForLayer = async <T>(file: LayerFile, work: () => Promise<T>): Promise<T> => {
    const room = await options.space.reserve({ path: file.path, bytes: newLayerBytes });
    try {
      return await work();
    } finally {
      room.release();
    }
  };
  const durableHomes = new Set<string>();
  const makeHome = async (layer: Layer): Promise<void> => {
    const isNew = (await mkdir(paths.homeOf(layer), { recursive: true, mode: 0o700 })) !== undefined;
    // One that was there may have been made by a process that died before it could sync.
    if (!isNew && durableHomes.has(layer.home)) return;
    await syncFolder(options.root);
    durableHomes.add(layer.home);
  };
  /** What a new layer stands on must be there, and whole. A server that has it open right now keeps it so. */
  const requireWhole = async (layer: Layer | undefined): Promise<void> => {
    if (layer === undefined) return;
    const file = paths.fileOf(layer);
    await requireFile(file);
    if ((await marks.liveOwner(file)) === undefined) await marks.settle(file);
  };

  const inventory: LayerInventory = {
    ...createLayerInventory({ root: options.root, paths, marks }),
    ...createLayerChecks({ paths, marks, confinement: options.confinement }),
    ...createTrash({ root: options.root, paths, marks }),
    ...createFoundExports({ runtimeDir: options.runtimeDir, close: (target) => alone(target.id, () => closeExport(deps, target)) }),
  };
  const backend = explainFullDisk({
    async createLayer(layer, below) {
      const file = paths.fileOf(layer);
      const parent = below.at(-1);
      await withSpaceForLayer(file, async () => {
        await Promise.all([requireWhole(parent), makeHome(layer)]);
        if (layer.format === 'raw') return await writeEmptyRaw(file, layer, parent);
        const backing = parent && { name: paths.backingNameOf(parent), format: parent.format };
        await writeEmptyQcow2(file.path, { sizeBytes: layer.sizeBytes, backing });
      });
    },
    prepareLayer(layer, below) {
      return withSpaceForLayer(paths.fileOf(layer), async () => {
        await requireWhole(below.at(-1));
        await makeHome(layer);
        return await prepareWrittenLayer(paths, layer, below);
      });
    },
    sealLayer: (layer, below, written) => sealWrittenLayer(paths, layer, below, written),
    forgetAllocation: (layer) => removeDurably(extentsFileOf(paths.fileOf(layer).path)),
    async resizeTop(chain, sizeBytes) {
      const files = chain.map(paths.fileOf);
      const top = files.at(-1);
      if (top === undefined) throw new VolumeBackendError('mismatch', 'a disk has at least one layer');
      await requireFile(top);
      await marks.settle(top);
      if (sizeBytes < (chain.at(-1) as Layer).sizeBytes) throw new VolumeBackendError('mismatch', 'a disk is never made smaller');
      if (top.format === 'raw') await truncate(top.path, sizeBytes);
      else await tools.resize(files, sizeBytes);
      await syncFile(top.path);
    },
    async changesOf(chain) {
      const top = chain.at(-1);
      if (top === undefined) return ExtentSet.empty;
      // A smaller layer hides the ends of those below it: they read as zeroes now.
      const largestBytes = Math.max(...chain.map((layer) => layer.sizeBytes));
      const changes = await layerChanges(paths.fileOf(top));
      return changes.union(ExtentSet.of([[top.sizeBytes, largestBytes]]));
    },
    source: async (chain) => ({
      layers: chain.map((layer) => ({ ...paths.fileOf(layer), sizeBytes: layer.sizeBytes })),
      sizeBytes: chain.at(-1)?.sizeBytes ?? 0,
    }),
    merge: (older, younger, child, callOptions) => mergeLayers({ paths, marks, tools }, older, younger, child, callOptions),
    async reserveMerge(older, younger) {
      const [file, bytes] = [paths.fileOf(older), await growthByMerge(paths.fileOf(older), paths.fileOf(younger))];
      return await options.space.reserve({
        path: file.path,
        bytes: (await allocatedBytesOf(file)) + bytes,
        mayUseKept: true,
        purpose: 'a merge',
      });
    },
    async removeLayer(layer) {
      const file = paths.fileOf(layer);
      const mark = await marks.liveOwner(file);
      if (mark !== undefined) throw new VolumeBackendError('busy', `${file.path} is open in process ${mark.processId ?? '(unknown)'}`);
      for (const path of [file.path, `${file.path}.new`, ...notesOf(file.path)]) await rm(path, { force: true });
      await syncFolder(paths.homeOf(layer)).catch(ignoreCodes('ENOENT'));
      await rmdir(paths.homeOf(layer)).catch(ignoreCodes('ENOENT', 'ENOTEMPTY', 'EEXIST'));
    },
    allocatedBytes: (layer) => allocatedBytesOf(paths.fileOf(layer)),
    freeBytes: async () => (await options.space.figures(options.root)).availableBytes,

    openExport: (id, chain, exportOptions) => alone(id, () => openExport(deps, id, chain, exportOptions)),
    snapshotExport: (target, chain, overlay) => alone(target.id, () => snapshotExport(deps, target, chain, overlay)),
    writeOut: (_target, chain) => syncFile(paths.fileOf(chain.at(-1) as Layer).path),
    pauseWrites: (targets, holdMs) => pauseWrites({ alone, log: options.log }, targets, holdMs),
    resumeWrites: (target) => resumeWrites({ alone, log: options.log }, target),
    mergeExport: (target, chain, older, younger, callOptions) => mergeExport(liveMerges, target, chain, { older, younger }, callOptions),
    inspectExport: (target) => alone(target.id, () => inspectExport(target)),
    closeExport: (target) => alone(target.id, () => closeExport(deps, target)),
  });
  return { ...backend, inventory };
}

async function writeEmptyRaw(file: LayerFile, layer: Layer, parent: Layer | undefined): Promise<void> {
  if (parent !== undefined) throw new VolumeBackendError('mismatch', 'a raw layer cannot stand on another');
  await removeDurably(extentsFileOf(file.path));
  await replaceFileDurably(file.path, [], layer.sizeBytes);
}

async function allocatedBytesOf(file: LayerFile): Promise<number> {
  const stats = await stat(file.path).catch(ignoreCodes('ENOENT'));
  return stats === undefined ? 0 : stats.blocks * 512;
}

async function requireFile(file: LayerFile): Promise<void> {
  if ((await stat(file.path).catch(ignoreCodes('ENOENT'))) === undefined)
    throw new VolumeBackendError('missing-layer', `${file.path} does not exist`);
}

function ignoreCodes(...codes: readonly string[]): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (!codes.includes(error.code ?? '')) throw error;
    return undefined;
  };
}
