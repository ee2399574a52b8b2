/**
 * Folds a layer into the one below it, offline. The layers are `older`, `younger` on it, and perhaps `child` on that.
 *
 * Order, and what a crash leaves:
 *  1. note in the sidecar of a raw `older` what it is about to hold: a crash leaves a note of too much, which only costs time;
 *  2. mark `older` as open: a crash leaves clusters that nobody uses, and the mark makes the next user repair that;
 *  3. write what `younger` holds into `older`. Whatever part of that happened is invisible: `younger` still hides it;
 *  4. make `older` durable, before anybody may depend on it alone;
 *  5. make the header of `child` name `older`: from here on `younger` is not needed. It is removed by the caller, in a step of its own.
 * All of it can be repeated from the start. When `younger` is gone already, an earlier run came to its end.
 *
 * A full file system stops step 3: `older` then holds a part of what `younger` holds too, and all disks read as before.
 */
import { stat, truncate } from 'node:fs/promises';
import { crashPoint } from '../../../lib/crash-points.ts';
import { syncFile } from '../../../lib/durable-files.ts';
import type { ExtentSet } from '../../disk/extent-set.ts';
import { layerContent } from '../../disk/layer-content.ts';
import { readExtentsFile, writeExtentsFile } from '../../disk/raw-layer.ts';
import type { CallOptions, Layer } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import type { LayerFile, LayerPaths } from './layer-paths.ts';
import { nameOf, type OfflineTools } from './offline-tools.ts';
import type { OpenMarks } from './open-marks.ts';
import { readHeader } from './read-header.ts';

const progressPauseMs = 250;

export interface MergeDeps {
  readonly paths: LayerPaths;
  readonly marks: OpenMarks;
  readonly tools: OfflineTools;
}

export async function mergeLayers(
  deps: MergeDeps,
  older: Layer,
  younger: Layer,
  child: Layer | undefined,
  options: CallOptions,
): Promise<void> {
  const files = { older: deps.paths.fileOf(older), younger: deps.paths.fileOf(younger), child: child && deps.paths.fileOf(child) };
  options.signal.throwIfAborted();
  if (!(await exists(files.younger))) return checkMerged(deps, files);
  for (const file of [files.older, files.younger, files.child]) if (file !== undefined) await deps.marks.settle(file);
  await checkStack(deps, files);

  const chain = await chainOf(deps, files.older);
  const held = await layerContent(files.younger);
  // Zeroes are not taken out yet: too much may be noted, never too little.
  await rewriteNotes(files.older, 'open', (noted) => noted.union(held.data));
  if (files.older.format === 'qcow2') await deps.marks.set(files.older, { owner: '', processId: null });
  await makeEqualInSize(deps, chain, (await readHeader(files.younger)).sizeBytes);
  crashPoint('merge:commit:before');
  // Nothing was written between two snapshots: the tool would look for it through the whole disk.
  if (held.data.totalBytes + held.zeroes.totalBytes > 0) await commit(deps, [...chain, files.younger], held.data.totalBytes, options);
  crashPoint('merge:commit:after');
  await syncFile(files.older.path);
  await rewriteNotes(files.older, 'sealed', (noted) => noted.subtract(held.zeroes).union(held.data));
  if (files.child !== undefined) await standOn(deps, files.child, older);
  crashPoint('merge:rebase:after');
  if (files.older.format === 'qcow2') await deps.marks.clear(files.older);
}

interface Files {
  readonly older: LayerFile;
  readonly younger: LayerFile;
  readonly child: LayerFile | undefined;
}

async function checkMerged(deps: MergeDeps, files: Files): Promise<void> {
  if (!(await exists(files.older))) throw new VolumeBackendError('missing-layer', `${nameOf(files.older)} does not exist`);
  if (files.child !== undefined && (await backingOf(deps, files.child))?.path !== files.older.path) {
    throw new VolumeBackendError('missing-layer', `${nameOf(files.younger)} does not exist`);
  }
}

/** A wrong order here would destroy a disk, so that what the files say of themselves must agree with the caller. */
async function checkStack(deps: MergeDeps, files: Files): Promise<void> {
  const below = await backingOf(deps, files.younger);
  if (below?.path !== files.older.path)
    throw new VolumeBackendError('mismatch', `${nameOf(files.younger)} does not stand on ${nameOf(files.older)}`);
  if (files.child === undefined) return;
  const belowChild = await backingOf(deps, files.child);
  if (belowChild?.path !== files.younger.path && belowChild?.path !== files.older.path) {
    throw new VolumeBackendError('mismatch', `${nameOf(files.child)} does not stand on ${nameOf(files.younger)}`);
  }
}

/**
 * A smaller `younger` hides the end of `older`, which would show again without it: so that end goes first. For a larger one `older`
 * grows, with zeroes where a still lower layer would show through.
 */
async function makeEqualInSize(deps: MergeDeps, chain: readonly LayerFile[], sizeBytes: number): Promise<void> {
  const older = chain.at(-1) as LayerFile;
  if (older.format === 'raw') {
    if ((await stat(older.path)).size !== sizeBytes) await truncate(older.path, sizeBytes);
  } else if ((await readHeader(older)).sizeBytes !== sizeBytes) {
    await deps.tools.resize(chain, sizeBytes);
  }
}

/** Of a raw layer; other layers tell by their tables what they hold. `open` before the file is written to, `sealed` when it is as it stays. */
export async function rewriteNotes(raw: LayerFile, state: 'open' | 'sealed', change: (noted: ExtentSet) => ExtentSet): Promise<void> {
  const noted = raw.format === 'raw' ? readExtentsFile(raw.path) : undefined;
  if (noted !== undefined) await writeExtentsFile(raw.path, change(noted), state);
}

async function commit(
  deps: MergeDeps,
  chain: readonly LayerFile[],
  totalBytes: number,
  { signal, onProgress }: CallOptions,
): Promise<void> {
  const report = progressReporter(onProgress);
  const onFraction = (done: number): void => report(Math.round(done * totalBytes), totalBytes);
  await deps.tools.commit(chain, { signal, onFraction });
}

/** Passes on a few reports a second, and the last one. */
export function progressReporter(onProgress: CallOptions['onProgress']): (doneBytes: number, totalBytes: number) => void {
  let reportedAtMs = Number.NEGATIVE_INFINITY;
  return (doneBytes, totalBytes) => {
    if (doneBytes < totalBytes && performance.now() - reportedAtMs < progressPauseMs) return;
    reportedAtMs = performance.now();
    onProgress?.(doneBytes, totalBytes);
  };
}

async function standOn(deps: MergeDeps, child: LayerFile, below: Layer): Promise<void> {
  if ((await backingOf(deps, child))?.path === deps.paths.fileOf(below).path) return;
  try {
    await deps.tools.rebase(child, { name: deps.paths.backingNameOf(below), format: below.format });
  } catch (error) {
    // The tool writes the whole first cluster; on a full disk it fails at the unused rest of it, when the header is there already.
    if ((await backingOf(deps, child))?.path !== deps.paths.fileOf(below).path) throw error;
  }
  await syncFile(child.path);
}

/** All layers below and including `top`, bottom first. */
async function chainOf(deps: MergeDeps, top: LayerFile): Promise<LayerFile[]> {
  const chain = [top];
  for (let below = await backingOf(deps, top); below !== undefined; below = await backingOf(deps, below)) {
    if (chain.some((file) => file.path === below?.path)) throw new VolumeBackendError('mismatch', `${nameOf(top)} stands on itself`);
    chain.unshift(below);
  }
  return chain;
}

async function backingOf(deps: MergeDeps, file: LayerFile): Promise<LayerFile | undefined> {
  if (file.format === 'raw') return undefined;
  const { backingFile } = await readHeader(file);
  return backingFile === undefined ? undefined : deps.paths.resolveBackingName(file, backingFile.name ?? '');
}

export async function exists(file: LayerFile): Promise<boolean> {
  return (await stat(file.path).catch(() => undefined)) !== undefined;
}
