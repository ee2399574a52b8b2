/** Servers of disks in memory: one NBD server of this process for each. They end with the process, and another instance finds them. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import type { Log } from '../../../lib/log.ts';
import { serveNbd } from '../../disk/nbd-server.ts';
import type { CallOptions, DiskExport, ExportState, Layer, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { memoryDevice } from './memory-device.ts';
import { type MemoryDisks, type MemoryExport, nameOf, needChain, needLayer, scratchFile } from './memory-disks.ts';
import { createWriteGate } from './memory-gate.ts';
import type { MemoryChain, MemoryLayer } from './memory-layer.ts';
import { fold } from './memory-merge.ts';

/** Under this name NBD clients find the disk, as with the other backends. */
const exportName = 'disk';

const idsOf = (layers: readonly { readonly id: string }[]): string => layers.map((layer) => layer.id).join();

export async function openExport(
  disks: MemoryDisks,
  log: Log,
  id: string,
  layers: LayerChain,
  options: { readonly readOnly: boolean },
): Promise<DiskExport> {
  const running = disks.exports.get(id);
  if (running !== undefined && idsOf(running.chain) === idsOf(layers)) return running.target;
  if (running !== undefined) await closeExport(disks, running.target);
  const chain = needChain(disks, layers);
  refuseSecondWriter(disks, chain, options.readOnly);
  const target: DiskExport = {
    id,
    home: layers.at(-1)?.home ?? '',
    socketPath: scratchFile(disks, `n-${randomBytes(16).toString('hex')}`),
    monitorPath: '',
    processId: process.pid,
  };
  await mkdir(disks.scratchDir, { recursive: true, mode: 0o700 });
  const served: { chain: MemoryChain } = { chain };
  const gate = createWriteGate();
  const device = memoryDevice(() => served.chain, disks.space, { readOnly: options.readOnly, gate });
  const server = await serveNbd({ socketPath: target.socketPath, name: exportName, device, log });
  disks.exports.set(id, Object.assign(served, { target, server, gate, readOnly: options.readOnly, isMerging: false }));
  return target;
}

/** Who writes to a layer is alone with it; who reads only minds a writer. */
function refuseSecondWriter(disks: MemoryDisks, chain: MemoryChain, readOnly: boolean): void {
  const top = chain.at(-1);
  const inTheWay = disks.exports
    .values()
    .find((open) => (readOnly ? !open.readOnly && open.chain.at(-1) === top : open.chain.some((layer) => layer === top)));
  if (inTheWay !== undefined) throw new VolumeBackendError('busy', `the disk is open in export ${inTheWay.target.id}`);
}

export async function snapshotExport(disks: MemoryDisks, target: DiskExport, layers: LayerChain, overlay: Layer): Promise<void> {
  const open = needExport(disks, target);
  if (overlay.home !== target.home) throw new VolumeBackendError('mismatch', 'an overlay belongs into the home of the disk that is served');
  if (idsOf(open.chain) === idsOf([...layers, overlay])) return;
  if (idsOf(open.chain) !== idsOf(layers)) throw servesOther(open, layers);
  if (open.isMerging) throw new VolumeBackendError('busy', 'layers of the disk are being merged');
  open.chain = [...open.chain, needLayer(disks, overlay)];
}

export async function mergeExport(
  disks: MemoryDisks,
  target: DiskExport,
  layers: LayerChain,
  pair: { readonly older: Layer; readonly younger: Layer },
  options: CallOptions,
): Promise<void> {
  const open = needExport(disks, target);
  const at = layers.findIndex((layer) => layer.id === pair.younger.id);
  checkPair(target, at < 1 ? [] : layers.slice(at - 1, at + 2), pair.older);
  if (idsOf(open.chain) === idsOf(layers.toSpliced(at, 1))) return;
  if (idsOf(open.chain) !== idsOf(layers)) throw servesOther(open, layers);
  const [older, younger, child] = open.chain.slice(at - 1) as [MemoryLayer, MemoryLayer, MemoryLayer];
  options.signal.throwIfAborted();
  open.isMerging = true;
  try {
    // Younger hides what becomes of older, so clients see nothing of it.
    await fold(disks, older, younger, options);
  } finally {
    open.isMerging = false;
  }
  child.below = nameOf(older);
  open.chain = open.chain.filter((layer) => layer !== younger);
}

function checkPair(target: DiskExport, [older, younger, child]: LayerChain, wanted: Layer): void {
  const isPair = older !== undefined && younger !== undefined && child !== undefined && older.id === wanted.id;
  if (!isPair) throw new VolumeBackendError('mismatch', 'the layers are not two neighbours below the top');
  if ([older, younger, child].some((layer) => layer.home !== target.home)) {
    throw new VolumeBackendError('mismatch', 'the server of a disk merges layers of its own home only');
  }
  if (younger.sizeBytes < older.sizeBytes) throw new VolumeBackendError('mismatch', 'the end of the older layer would show again');
}

function servesOther(open: MemoryExport, layers: LayerChain): VolumeBackendError {
  return new VolumeBackendError('mismatch', `the server has the layers ${idsOf(open.chain)}, not ${idsOf(layers)}`);
}

export function needExport(disks: MemoryDisks, target: DiskExport): MemoryExport {
  const open = disks.exports.get(target.id);
  if (open === undefined) throw new VolumeBackendError('gone', 'the server of the disk has ended');
  return open;
}

export function inspectExport(disks: MemoryDisks, target: DiskExport): ExportState {
  const open = disks.exports.get(target.id);
  return open === undefined ? { alive: false, layerIds: [] } : { alive: true, layerIds: open.chain.map((layer) => layer.id) };
}

export async function closeExport(disks: MemoryDisks, target: DiskExport): Promise<void> {
  const open = disks.exports.get(target.id);
  // The end waits for what is under way.
  open?.gate.open();
  await open?.server.close();
  disks.exports.delete(target.id);
}
