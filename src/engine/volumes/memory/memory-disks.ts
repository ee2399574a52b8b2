/**
 * What memory backends share: the layers, who serves them, and the space they take. As a folder is to file backends, it outlives each of
 * them, and knows nothing of what one of them is doing.
 */
import { join } from 'node:path';
import { type Clock, systemClock } from '../../../lib/clock.ts';
import type { NbdServer } from '../../disk/nbd-server.ts';
import type { DiskExport, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import type { LayerName, TrashedItem } from '../inventory-contract.ts';
import type { WriteGate } from './memory-gate.ts';
import type { MemoryChain, MemoryLayer } from './memory-layer.ts';
import { createMemorySpace, type MemorySpace } from './memory-space.ts';

export interface MemoryExport {
  readonly target: DiskExport;
  readonly readOnly: boolean;
  readonly server: NbdServer;
  readonly gate: WriteGate;
  /** Bottom first. */
  chain: MemoryChain;
  isMerging: boolean;
}

export interface MemoryDisks {
  readonly layers: Map<string, MemoryLayer>;
  readonly exports: Map<string, MemoryExport>;
  /** The files that readers were given, by the layer on top. */
  readonly sources: Map<MemoryLayer, MemorySource>;
  readonly space: MemorySpace;
  readonly clock: Clock;
  readonly trash: Map<string, TrashedLayer>;
  /** For sockets, and for files that other processes read or write. Its owner removes it. */
  readonly scratchDir: string;
}

export interface TrashedLayer {
  readonly layer: MemoryLayer;
  readonly item: TrashedItem;
}

export interface MemorySource {
  /** Of what the file was made. */
  readonly made: string;
  readonly path: Promise<string>;
}

export interface MemoryDisksOptions {
  readonly scratchDir: string;
  readonly capacityBytes?: number;
  /** Kept back: when no more than this is free, new layers are refused. */
  readonly keptBytes?: number;
  readonly clock?: Clock;
}

export function createMemoryDisks(options: MemoryDisksOptions): MemoryDisks {
  const { scratchDir, capacityBytes = 2 ** 32, keptBytes = 0, clock = systemClock } = options;
  return {
    layers: new Map(),
    exports: new Map(),
    sources: new Map(),
    trash: new Map(),
    space: createMemorySpace({ capacityBytes, keptBytes }),
    clock,
    scratchDir,
  };
}

const safeName = /^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$/;

/** One layer is one name, as it is with files. */
export function keyOf(layer: LayerName): string {
  for (const name of [layer.home, layer.id]) {
    if (!safeName.test(name)) throw new VolumeBackendError('mismatch', `${JSON.stringify(name)} cannot name a layer or its home`);
  }
  return `${layer.home}/${layer.id}.${layer.format}`;
}

export function needLayer(disks: MemoryDisks, layer: LayerName): MemoryLayer {
  const found = disks.layers.get(keyOf(layer));
  if (found === undefined) throw new VolumeBackendError('missing-layer', `${keyOf(layer)} does not exist`);
  return found;
}

/** At least one layer. */
export function needChain(disks: MemoryDisks, chain: LayerChain): MemoryLayer[] {
  if (chain.length === 0) throw new VolumeBackendError('mismatch', 'a disk has at least one layer');
  return chain.map((layer) => needLayer(disks, layer));
}

export function refuseIfOpen(disks: MemoryDisks, ...layers: readonly (MemoryLayer | undefined)[]): void {
  const open = disks.exports.values().find(({ chain }) => chain.some((layer) => layers.includes(layer)));
  if (open !== undefined) throw new VolumeBackendError('busy', `the disk is open in export ${open.target.id}`);
}

/** The layers that a layer stands on, and itself: what is stored, not what somebody says. */
export function storedChain(disks: MemoryDisks, top: MemoryLayer): MemoryChain {
  const chain = [top];
  for (let below = top.below; below !== undefined; below = (chain[0] as MemoryLayer).below) chain.unshift(needLayer(disks, below));
  return chain;
}

export const nameOf = ({ id, home, format }: LayerName): LayerName => ({ id, home, format });

export const standsOn = (layer: MemoryLayer, below: LayerName): boolean => layer.below !== undefined && keyOf(layer.below) === keyOf(below);

export const scratchFile = (disks: MemoryDisks, name: string): string => join(disks.scratchDir, name);
