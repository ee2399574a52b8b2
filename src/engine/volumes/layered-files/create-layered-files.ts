/**
 * Volumes as files: a tree of immutable layers, of which only tops are written. Bases are raw, or uploaded qcow2 files; everything else
 * is a qcow2 overlay of 64 KiB clusters whose 2 KiB subclusters keep scattered small writes small.
 *
 * Everything that a call reports as done is on the disk: files are synced, and so are their folders. Chains are always opened by explicit
 * lists; what headers name is for people with `qemu-img`, and checked when it matters.
 */
import { mkdir, rm, rmdir, stat, statfs, truncate } from 'node:fs/promises';
import { removeDurably, replaceFileDurably, syncFile, syncFolder } from '../../../lib/durable-files.ts';
import type { Log } from '../../../lib/log.ts';
import type { Confinement } from '../../confinement/run-confined.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import { layerChanges } from '../../disk/layer-content.ts';
import { extentsFileOf } from '../../disk/raw-layer.ts';
import { writeEmptyQcow2 } from '../../disk/write-qcow2.ts';
import type { Layer, VolumeBackend } from '../contract.ts';
import { SpaceError, VolumeBackendError } from '../errors.ts';
import { checkRuntimeDir } from './export-folder.ts';
import { closeExport, type ExportDeps, inspectExport, openExport } from './exports.ts';
import { createLayerPaths, type LayerFile } from './layer-paths.ts';
import { snapshotExport } from './live-snapshot.ts';
import { mergeLayers } from './merge.ts';
import { createOfflineTools } from './offline-tools.ts';
import { createOpenMarks } from './open-marks.ts';
import { prepareWrittenLayer, sealWrittenLayer } from './written-layers.ts';

export interface LayeredFilesOptions {
  /** Holds one folder for each home. */
  readonly root: string;
  /** For sockets: short, private, and emptied by a reboot. */
  readonly runtimeDir: string;
  readonly log: Log;
  /** Free space that is kept back: when no more than this is free, new layers are refused. */
  readonly reserveBytes: number;
  readonly confinement: Confinement;
}

export function createLayeredFiles(options: LayeredFilesOptions): VolumeBackend {
  checkRuntimeDir(options.runtimeDir);
  const paths = createLayerPaths(options.root);
  const marks = createOpenMarks(paths, options.confinement);
  const tools = createOfflineTools(options.confinement);
  const deps: ExportDeps = { paths, marks, confinement: options.confinement, runtimeDir: options.runtimeDir, log: options.log };
  // A monitor serves one client at a time.
  const alone = createTurns();

  const freeBytes = async (): Promise<number> => {
    await mkdir(options.root, { recursive: true, mode: 0o700 });
    const { bavail, bsize } = await statfs(options.root);
    return Math.max(0, bavail * bsize - options.reserveBytes);
  };
  const requireSpace = async (): Promise<void> => {
    if ((await freeBytes()) <= 0) throw new SpaceError('free space has reached the watermark');
  };
  const makeHome = async (layer: Layer): Promise<void> => {
    if ((await mkdir(paths.homeOf(layer), { recursive: true, mode: 0o700 })) !== undefined) await syncFolder(options.root);
  };
  /** What a new layer stands on must be there, and whole. A server that has it open right now keeps it so. */
  const requireWhole = async (layer: Layer | undefined): Promise<void> => {
    if (layer === undefined) return;
    const file = paths.fileOf(layer);
    await requireFile(file);
    if ((await marks.liveOwner(file)) === undefined) await marks.settle(file);
  };

  return {
    async createLayer(layer, below) {
      await requireSpace();
      const file = paths.fileOf(layer);
      const parent = below.at(-1);
      await requireWhole(parent);
      await makeHome(layer);
      if (layer.format === 'raw') await writeEmptyRaw(file, layer, parent);
      else
        await writeEmptyQcow2(file.path, {
          sizeBytes: layer.sizeBytes,
          backing: parent && { name: paths.backingNameOf(parent), format: parent.format },
        });
    },
    async prepareLayer(layer, below) {
      await requireSpace();
      await requireWhole(below.at(-1));
      await makeHome(layer);
      return await prepareWrittenLayer(paths, layer, below);
    },
    sealLayer: (layer, below, written) => sealWrittenLayer(paths, layer, below, written),
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
    async removeLayer(layer) {
      const file = paths.fileOf(layer);
      const mark = await marks.liveOwner(file);
      if (mark !== undefined) throw new VolumeBackendError('busy', `${file.path} is open in process ${mark.processId ?? '(unknown)'}`);
      for (const path of [file.path, `${file.path}.new`, extentsFileOf(file.path), paths.markOf(file)]) await rm(path, { force: true });
      await syncFolder(paths.homeOf(layer)).catch(ignoreCodes('ENOENT'));
      await rmdir(paths.homeOf(layer)).catch(ignoreCodes('ENOENT', 'ENOTEMPTY', 'EEXIST'));
    },
    async allocatedBytes(layer) {
      const stats = await stat(paths.fileOf(layer).path).catch(ignoreCodes('ENOENT'));
      return stats === undefined ? 0 : stats.blocks * 512;
    },
    freeBytes,

    openExport: (id, chain, exportOptions) => alone(id, () => openExport(deps, id, chain, exportOptions)),
    snapshotExport: (target, chain, overlay) => alone(target.id, () => snapshotExport(deps, target, chain, overlay)),
    inspectExport: (target) => alone(target.id, () => inspectExport(target)),
    closeExport: (target) => alone(target.id, () => closeExport(deps, target)),
  };
}

async function writeEmptyRaw(file: LayerFile, layer: Layer, parent: Layer | undefined): Promise<void> {
  if (parent !== undefined) throw new VolumeBackendError('mismatch', 'a raw layer cannot stand on another');
  await removeDurably(extentsFileOf(file.path));
  await replaceFileDurably(file.path, [], layer.sizeBytes);
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

/** Runs work with the same key one after the other. */
function createTurns(): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>();
  return (key, work) => {
    const turn = (last.get(key) ?? Promise.resolve()).then(work, work);
    last.set(key, turn);
    const forget = (): void => {
      if (last.get(key) === turn) last.delete(key);
    };
    turn.then(forget, forget);
    return turn;
  };
}
