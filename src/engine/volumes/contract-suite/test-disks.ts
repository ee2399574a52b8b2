/**
 * Disks for the tests of volume backends: layers, writes as clients make them, and a plain buffer beside each disk that got the same ones.
 *
 * Disks are filled the way machines do it: through the exported socket. They are read back by our readers.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { connectNbd } from '../../../../test/support/nbd-client.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import { openDisk } from '../../disk/open-disk.ts';
import type { DiskExport, Layer, LayerChain, VolumeBackend } from '../contract.ts';

export interface BackendUnderTest {
  readonly backend: VolumeBackend;
  /** A second instance over the same disks, that knows nothing of what the first one has in memory: as after a restart. */
  another(): VolumeBackend;
  /** Ends a server at once, without a word to anybody, and waits until it is gone. */
  kill(target: DiskExport): Promise<void>;
  dispose(): Promise<void>;
}

export interface SpaceLimits {
  /** Free space that is kept back from new data. */
  readonly keptBytes: number;
}

export type MakeBackend = (limits: SpaceLimits) => Promise<BackendUnderTest>;

export type Write =
  | { readonly kind: 'write'; readonly at: number; readonly length: number; readonly pattern: number }
  | { readonly kind: 'zero' | 'discard'; readonly at: number; readonly length: number };

export const mib = 2 ** 20;
export const diskBytes = 8 * mib;

export const notAborted = (): { signal: AbortSignal } => ({ signal: new AbortController().signal });
export const write = (at: number, length: number, pattern: number): Write => ({ kind: 'write', at, length, pattern });
export const zero = (at: number, length: number): Write => ({ kind: 'zero', at, length });
export const discard = (at: number, length: number): Write => ({ kind: 'discard', at, length });

export const uriOf = (target: DiskExport): string => `nbd+unix:///disk?socket=${target.socketPath}`;

/** Writes as an NBD client. Everything is flushed when it returns. */
export async function writeThrough(target: DiskExport, writes: readonly Write[]): Promise<void> {
  const client = await connectNbd(target.socketPath);
  try {
    for (const one of writes) {
      if (one.kind === 'write') await client.write(one.at, Buffer.alloc(one.length, one.pattern));
      else if (one.kind === 'zero') await client.zero(one.at, one.length);
      else await client.trim(one.at, one.length);
    }
    await client.flush();
  } finally {
    await client.close();
  }
}

export function applyTo(model: Buffer, writes: readonly Write[]): void {
  for (const one of writes) model.fill(one.kind === 'write' ? one.pattern : 0, one.at, one.at + one.length);
}

export async function readDisk(backend: VolumeBackend, chain: LayerChain): Promise<{ bytes: Buffer; allocated: ExtentSet }> {
  const disk = openDisk(await backend.source(chain));
  try {
    const bytes = Buffer.alloc(disk.sizeBytes, 0xee);
    disk.readSync(bytes, 0);
    return { bytes, allocated: disk.allocated() };
  } finally {
    disk.close();
  }
}

export async function expectBytes(backend: VolumeBackend, chain: LayerChain, wanted: Buffer): Promise<void> {
  const { bytes, allocated } = await readDisk(backend, chain);
  expect(bytes.length).toBe(wanted.length);
  expect(bytes.equals(wanted)).toBe(true);
  for (const [start, end] of ExtentSet.of([[0, wanted.length]])
    .subtract(allocated)
    .ranges()) {
    expect(wanted.subarray(start, end).equals(Buffer.alloc(end - start))).toBe(true);
  }
}

export function newLayer(home: string, sizeBytes = diskBytes, format: Layer['format'] = 'qcow2'): Layer {
  return { id: randomUUID(), home, format, sizeBytes };
}

/** Writes into the top of a chain that nobody has open. */
export async function writeOffline(backend: VolumeBackend, chain: LayerChain, writes: readonly Write[]): Promise<void> {
  if (writes.length === 0) return;
  const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
  try {
    await writeThrough(target, writes);
  } finally {
    await backend.closeExport(target);
  }
}

/** One backend for the tests of a suite, and what they make of it. */
export interface TestDisks {
  readonly under: BackendUnderTest;
  readonly backend: VolumeBackend;
  /** Layers with the given writes, bottom first, all in one new home. */
  build(...plans: readonly (readonly Write[])[]): Promise<{ chain: Layer[]; model: Buffer; home: string }>;
  /** Closed after the test. */
  serve(chain: LayerChain, options?: { readOnly: boolean }): Promise<DiskExport>;
}

/** To be called in a `describe`: the backend is made before its tests, and disposed of after them. */
export function useTestDisks(makeBackend: MakeBackend): TestDisks {
  let under: BackendUnderTest;
  const opened: DiskExport[] = [];
  beforeAll(async () => {
    under = await makeBackend({ keptBytes: 0 });
  });
  afterEach(async () => {
    for (const target of opened.splice(0)) await under.backend.closeExport(target);
  });
  afterAll(() => under.dispose());
  return {
    get under() {
      return under;
    },
    get backend() {
      return under.backend;
    },
    async build(...plans) {
      const home = randomUUID();
      const chain: Layer[] = [];
      const model = Buffer.alloc(diskBytes);
      for (const writes of plans) {
        const layer = newLayer(home);
        await under.backend.createLayer(layer, chain);
        chain.push(layer);
        await writeOffline(under.backend, chain, writes);
        applyTo(model, writes);
      }
      return { chain, model, home };
    },
    async serve(chain, options = { readOnly: false }) {
      const target = await under.backend.openExport(randomUUID(), chain, options);
      opened.push(target);
      return target;
    },
  };
}
