/**
 * What every volume backend must do, as tests. A backend's own test file calls `describeVolumeBackend` with a way to make one.
 *
 * Disks are filled the way machines do it: through the exported socket, by QEMU's own client. They are read back by our readers,
 * and compared with a plain buffer that got the same writes.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ExtentSet } from '../disk/extent-set.ts';
import { openDisk } from '../disk/open-disk.ts';
import type { DiskExport, Layer, LayerChain, VolumeBackend } from './contract.ts';

export interface BackendUnderTest {
  readonly backend: VolumeBackend;
  /** A second instance over the same disks, that knows nothing of what the first one has in memory: as after a restart. */
  another(): VolumeBackend;
  dispose(): Promise<void>;
}

const run = promisify(execFile);
const mib = 2 ** 20;
const diskBytes = 8 * mib;
const notAborted = (): { signal: AbortSignal } => ({ signal: new AbortController().signal });

export type Write =
  | { readonly kind: 'write'; readonly at: number; readonly length: number; readonly pattern: number }
  | { readonly kind: 'zero' | 'discard'; readonly at: number; readonly length: number };

/** Writes as an NBD client. Everything is flushed when it returns. */
export async function writeThrough(target: DiskExport, writes: readonly Write[]): Promise<void> {
  const commands = writes.map((write) => {
    if (write.kind === 'write') return `write -P ${write.pattern} ${write.at} ${write.length}`;
    return `${write.kind === 'zero' ? 'write -z' : 'discard'} ${write.at} ${write.length}`;
  });
  const uri = `nbd+unix:///disk?socket=${target.socketPath}`;
  await run('qemu-io', ['-f', 'raw', '-d', 'unmap', ...[...commands, 'flush'].flatMap((command) => ['-c', command]), uri]);
}

export function applyTo(model: Buffer, writes: readonly Write[]): void {
  for (const write of writes) model.fill(write.kind === 'write' ? write.pattern : 0, write.at, write.at + write.length);
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

export function describeVolumeBackend(name: string, makeBackend: () => Promise<BackendUnderTest>): void {
  describe(`${name} as a volume backend`, () => {
    let under: BackendUnderTest;
    let backend: VolumeBackend;
    let home: string;
    const opened: DiskExport[] = [];
    beforeAll(async () => {
      under = await makeBackend();
      backend = under.backend;
    });
    afterEach(async () => {
      for (const target of opened.splice(0)) await backend.closeExport(target);
    });
    afterAll(() => under.dispose());

    const serve = async (chain: LayerChain, options = { readOnly: false }): Promise<DiskExport> => {
      const target = await backend.openExport(randomUUID(), chain, options);
      opened.push(target);
      return target;
    };
    const changesOf = async (chain: LayerChain) => [...((await backend.changesOf(chain))?.ranges() ?? ['not known'])];
    /** Layers with the given writes, bottom first. */
    const build = async (...plans: readonly (readonly Write[])[]): Promise<{ chain: Layer[]; model: Buffer }> => {
      home = randomUUID();
      const chain: Layer[] = [];
      const model = Buffer.alloc(diskBytes);
      for (const writes of plans) {
        const layer = newLayer(home);
        await backend.createLayer(layer, chain);
        chain.push(layer);
        await writeOffline(backend, chain, writes);
        applyTo(model, writes);
      }
      return { chain, model };
    };
    const write = (at: number, length: number, pattern: number): Write => ({ kind: 'write', at, length, pattern });
    const zero = (at: number, length: number): Write => ({ kind: 'zero', at, length });

    describe('layers', () => {
      it('makes layers that read as zeroes, or as what is below them', async () => {
        const { chain, model } = await build([], [write(0, 4096, 1)], []);
        await expectBytes(backend, chain.slice(0, 1), Buffer.alloc(diskBytes));
        await expectBytes(backend, chain, model);
      });

      it('makes a layer anew when it exists', async () => {
        const { chain, model } = await build([write(0, mib, 1)]);
        const again = newLayer(home);
        await backend.createLayer(again, chain);
        await writeOffline(backend, [...chain, again], [write(0, mib, 2)]);
        await backend.createLayer(again, chain);
        await expectBytes(backend, [...chain, again], model);
      });

      it('refuses to stand a layer on one that does not exist', async () => {
        await expect(backend.createLayer(newLayer('nowhere'), [newLayer('nowhere')])).rejects.toMatchObject({ kind: 'missing-layer' });
      });

      it('shares one base among disks', async () => {
        const { chain, model } = await build([write(0, mib, 3)]);
        const [left, right] = [newLayer(randomUUID()), newLayer(randomUUID())];
        for (const top of [left, right]) await backend.createLayer(top, chain);
        await writeOffline(backend, [...chain, left], [write(4096, 4096, 4)]);
        await expectBytes(backend, [...chain, right], model);
        await expectBytes(backend, chain, model);
      });

      it('seals a base that somebody wrote, and remembers where its data is', async () => {
        const base = newLayer(randomUUID(), diskBytes, 'raw');
        const bytes = Buffer.alloc(2 * mib);
        bytes.fill(9, mib);
        const target = await backend.prepareLayer(base, []);
        expect(target).toMatchObject({ format: 'raw', sizeBytes: diskBytes });
        await writeFile(target.path, bytes);
        await backend.sealLayer(base, [], ExtentSet.of([[mib, 2 * mib]]));
        await backend.sealLayer(base, [], ExtentSet.of([[mib, 2 * mib]]));
        await expectBytes(backend, [base], Buffer.concat([bytes, Buffer.alloc(diskBytes - bytes.length)]));
        expect([...(await readDisk(backend, [base])).allocated.ranges()]).toEqual([[mib, 2 * mib]]);
      });

      it('says which ranges a layer changed, zeroes included', async () => {
        const { chain } = await build([write(0, 4 * mib, 1)], [write(mib, 65_536, 2), zero(2 * mib, 131_072)]);
        expect(await changesOf(chain)).toEqual([
          [mib, mib + 65_536],
          [2 * mib, 2 * mib + 131_072],
        ]);
      });

      it('counts the end that a smaller layer hides as changed', async () => {
        const { chain } = await build([write(0, diskBytes, 1)]);
        const small = newLayer(home, 4 * mib);
        await backend.createLayer(small, chain);
        const large = newLayer(home);
        await backend.createLayer(large, [...chain, small]);
        await expectBytes(backend, [...chain, small, large], Buffer.concat([Buffer.alloc(4 * mib, 1), Buffer.alloc(4 * mib)]));
        expect(await changesOf([...chain, small])).toEqual([[4 * mib, diskBytes]]);
      });

      it('grows a disk with zeroes, also where a lower layer is larger', async () => {
        const { chain } = await build([write(0, diskBytes, 1)]);
        const top = newLayer(home, 4 * mib);
        await backend.createLayer(top, chain);
        await backend.resizeTop([...chain, top], diskBytes);
        await backend.resizeTop([...chain, top], diskBytes);
        await expectBytes(
          backend,
          [...chain, { ...top, sizeBytes: diskBytes }],
          Buffer.concat([Buffer.alloc(4 * mib, 1), Buffer.alloc(4 * mib)]),
        );
      });

      it('removes layers, also twice, and knows what they take', async () => {
        const { chain } = await build([write(0, mib, 1)]);
        const [layer] = chain as [Layer];
        expect(await backend.allocatedBytes(layer)).toBeGreaterThanOrEqual(mib);
        await backend.removeLayer(layer);
        await backend.removeLayer(layer);
        expect(await backend.allocatedBytes(layer)).toBe(0);
      });

      it('knows how much space is left', async () => {
        expect(await backend.freeBytes()).toBeGreaterThan(0);
      });
    });

    describe('merging', () => {
      const plans = [
        [write(0, 3 * mib, 1), write(6 * mib, 100_352, 2)],
        [write(mib, mib, 3), zero(2 * mib, 524_288), write(7 * mib, 4096, 4)],
        [write(mib + 65_536, 4096, 5)],
      ];

      it('keeps every byte when the middle of three layers is folded into the lowest', async () => {
        const { chain, model } = await build(...plans);
        const [older, younger, child] = chain as [Layer, Layer, Layer];
        const frozen = (await readDisk(backend, [older, younger])).bytes;
        const calls: number[] = [];
        await backend.merge(older, younger, child, { ...notAborted(), onProgress: (done) => calls.push(done) });
        await backend.merge(older, younger, child, notAborted());
        await backend.removeLayer(younger);
        await backend.merge(older, younger, child, notAborted());
        await expectBytes(backend, [older, child], model);
        await expectBytes(backend, [older], frozen);
        await writeOffline(backend, [older, child], [write(5 * mib, 4096, 6)]);
        expect(calls.length).toBeGreaterThan(0);
      });

      it('keeps every byte when the highest layer is folded into the middle', async () => {
        const { chain, model } = await build(...plans);
        const [base, older, younger] = chain as [Layer, Layer, Layer];
        const below = (await readDisk(backend, [base])).bytes;
        await backend.merge(older, younger, undefined, notAborted());
        await backend.removeLayer(younger);
        await expectBytes(backend, [base, older], model);
        await expectBytes(backend, [base], below);
      });

      it('keeps every byte of a raw base that a layer is folded into, and notes the change', async () => {
        home = randomUUID();
        const base = newLayer(home, diskBytes, 'raw');
        const bytes = Buffer.alloc(diskBytes);
        bytes.fill(9, 0, 2 * mib);
        await writeFile((await backend.prepareLayer(base, [])).path, bytes);
        await backend.sealLayer(base, [], ExtentSet.of([[0, 2 * mib]]));
        const [younger, child] = [newLayer(home), newLayer(home)];
        await backend.createLayer(younger, [base]);
        const writes = [write(4 * mib, 65_536, 1), zero(0, mib)];
        await writeOffline(backend, [base, younger], writes);
        applyTo(bytes, writes);
        await backend.createLayer(child, [base, younger]);
        await backend.merge(base, younger, child, notAborted());
        await backend.removeLayer(younger);
        await expectBytes(backend, [base, child], bytes);
        expect([...(await readDisk(backend, [base])).allocated.ranges()]).toEqual([
          [mib, 2 * mib],
          [4 * mib, 4 * mib + 65_536],
        ]);
      });

      it('does not let zeroes take space', async () => {
        const { chain } = await build([write(0, 4 * mib, 1)], [zero(0, 4 * mib), zero(4 * mib, 4 * mib)]);
        const [older, younger] = chain as [Layer, Layer];
        const before = await backend.allocatedBytes(older);
        await backend.merge(older, younger, undefined, notAborted());
        expect(await backend.allocatedBytes(older)).toBeLessThanOrEqual(before);
        await expectBytes(backend, [older], Buffer.alloc(diskBytes));
      });

      it.each([
        [4 * mib, 'smaller', diskBytes],
        [diskBytes + mib, 'larger', diskBytes + 2 * mib],
      ])('keeps what is hidden hidden when the younger layer has %d bytes and is %s', async (youngerBytes, _how, childBytes) => {
        const { chain } = await build([write(0, diskBytes, 1)], [write(3 * mib, mib, 2)]);
        const [base, older] = chain as [Layer, Layer];
        const younger = newLayer(home, youngerBytes);
        await backend.createLayer(younger, chain);
        await writeOffline(backend, [...chain, younger], [write(mib, 4096, 3)]);
        const child = newLayer(home, childBytes);
        await backend.createLayer(child, [...chain, younger]);
        const wanted = (await readDisk(backend, [...chain, younger, child])).bytes;
        await backend.merge(older, younger, child, notAborted());
        await backend.removeLayer(younger);
        await expectBytes(backend, [base, { ...older, sizeBytes: youngerBytes }, child], wanted);
      });

      it('refuses to fold layers that do not stand on each other', async () => {
        const { chain, model } = await build(...plans);
        const [base, , top] = chain as [Layer, Layer, Layer];
        await expect(backend.merge(base, top, undefined, notAborted())).rejects.toMatchObject({ kind: 'mismatch' });
        await expectBytes(backend, chain, model);
      });

      it('refuses to fold what is being served', async () => {
        const { chain, model } = await build(...plans);
        const [older, younger, child] = chain as [Layer, Layer, Layer];
        const target = await serve(chain);
        await expect(backend.merge(older, younger, child, notAborted())).rejects.toMatchObject({ kind: 'busy' });
        await backend.closeExport(target);
        await expectBytes(backend, chain, model);
      });

      it('does nothing when it is aborted beforehand', async () => {
        const { chain, model } = await build(...plans);
        const [older, younger, child] = chain as [Layer, Layer, Layer];
        await expect(backend.merge(older, younger, child, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
        await expectBytes(backend, chain, model);
      });
    });

    describe('exports', () => {
      it('serves a disk whose writes are there after the close', async () => {
        const { chain, model } = await build([write(0, mib, 1)], []);
        const target = await serve(chain);
        await writeThrough(target, [write(4096, 512, 2), { kind: 'discard', at: 524_288, length: 131_072 }]);
        applyTo(model, [write(4096, 512, 2), zero(524_288, 131_072)]);
        await backend.closeExport(target);
        await backend.closeExport(target);
        await expectBytes(backend, chain, model);
        expect(await backend.inspectExport(target)).toEqual({ alive: false, layerIds: [] });
      });

      it('starts one server for one id, however often it is asked', async () => {
        const { chain } = await build([]);
        const target = await serve(chain);
        expect(await backend.openExport(target.id, chain, { readOnly: false })).toEqual(target);
        await expect(backend.openExport(randomUUID(), chain, { readOnly: false })).rejects.toMatchObject({ kind: 'busy' });
      });

      it('serves a disk for reading only', async () => {
        const { chain, model } = await build([write(0, mib, 1)]);
        const target = await serve(chain, { readOnly: true });
        await expect(writeThrough(target, [write(0, 4096, 2)])).rejects.toThrow();
        await run('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 1 0 1M', `nbd+unix:///disk?socket=${target.socketPath}`]);
        await backend.closeExport(target);
        await expectBytes(backend, chain, model);
      });

      it('freezes what a client wrote before a snapshot, and nothing that it wrote after', async () => {
        const { chain, model } = await build([write(0, mib, 1)]);
        const target = await serve(chain);
        await writeThrough(target, [write(mib, 65_536, 2), write(2 * mib, 4096, 3)]);
        applyTo(model, [write(mib, 65_536, 2), write(2 * mib, 4096, 3)]);
        const overlay = newLayer(home);
        await backend.createLayer(overlay, chain);
        await backend.snapshotExport(target, chain, overlay);
        await expectBytes(backend, chain, model);
        await writeThrough(target, [write(0, 4096, 7), { kind: 'discard', at: mib, length: 65_536 }]);
        await backend.snapshotExport(target, chain, overlay);
        await expectBytes(backend, chain, model);
        expect(await backend.inspectExport(target)).toEqual({ alive: true, layerIds: [...chain, overlay].map((layer) => layer.id) });
        await backend.closeExport(target);
        applyTo(model, [write(0, 4096, 7), zero(mib, 65_536)]);
        await expectBytes(backend, [...chain, overlay], model);
        expect(await changesOf([...chain, overlay])).toEqual([
          [0, 4096],
          [mib, mib + 65_536],
        ]);
      });

      it('refuses a snapshot of something else than what it serves', async () => {
        const { chain } = await build([], []);
        const target = await serve(chain);
        const overlay = newLayer(home);
        await backend.createLayer(overlay, chain);
        await expect(backend.snapshotExport(target, chain.slice(0, 1), overlay)).rejects.toMatchObject({ kind: 'mismatch' });
        await backend.snapshotExport(target, chain, overlay);
      });

      it('hands a running server over to another instance', async () => {
        const { chain, model } = await build([]);
        const target = JSON.parse(JSON.stringify(await serve(chain))) as DiskExport;
        const successor = under.another();
        expect(await successor.inspectExport(target)).toEqual({ alive: true, layerIds: chain.map((layer) => layer.id) });
        const overlay = newLayer(home);
        await successor.createLayer(overlay, chain);
        await successor.snapshotExport(target, chain, overlay);
        await writeThrough(target, [write(0, 4096, 8)]);
        await successor.closeExport(target);
        applyTo(model, [write(0, 4096, 8)]);
        await expectBytes(successor, [...chain, overlay], model);
      });

      it('keeps any sequence of writes, snapshots and merges equal to a plain buffer', async () => {
        await fc.assert(
          fc.asyncProperty(fc.array(stepsOfADisk, { minLength: 2, maxLength: 8 }), async (steps) => {
            await playOn(backend, steps);
          }),
          { numRuns: 8 },
        );
      }, 60_000);
    });
  });
}

type Step = readonly Write[] | 'snapshot' | 'reopen' | 'merge';

const grains = fc.constantFrom(512, 4096, 65_536);
const writesOfAStep = fc.array(
  fc
    .record({
      kind: fc.constantFrom('write', 'write', 'zero', 'discard'),
      at: fc.nat(diskBytes / 512 - 1),
      count: fc.integer({ min: 1, max: 40 }),
      pattern: fc.integer({ min: 1, max: 255 }),
      grain: grains,
    })
    .map(({ kind, at, count, pattern, grain }): Write => {
      // Servers may ignore the odd ends of a discard.
      const unit = kind === 'discard' ? 65_536 : grain;
      const start = Math.floor((at * 512) / unit) * unit;
      const length = Math.min(count * unit, diskBytes - start);
      return kind === 'write' ? { kind, at: start, length, pattern } : { kind: kind === 'zero' ? 'zero' : 'discard', at: start, length };
    }),
  { minLength: 1, maxLength: 6 },
);
const stepsOfADisk: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: writesOfAStep },
  { weight: 3, arbitrary: fc.constant('snapshot' as const) },
  { weight: 1, arbitrary: fc.constant('reopen' as const) },
  { weight: 2, arbitrary: fc.constant('merge' as const) },
);

/** Plays steps on a disk that is served all the time; at the end, and at each snapshot, its bytes are those of the model. */
async function playOn(backend: VolumeBackend, steps: readonly Step[]): Promise<void> {
  const home = randomUUID();
  const chain = [newLayer(home)];
  const model = Buffer.alloc(diskBytes);
  await backend.createLayer(chain[0] as Layer, []);
  let target = await backend.openExport(randomUUID(), chain, { readOnly: false });
  try {
    for (const step of steps) {
      if (step === 'snapshot') {
        const overlay = newLayer(home);
        await backend.createLayer(overlay, chain);
        await backend.snapshotExport(target, chain, overlay);
        await expectBytes(backend, chain, model);
        chain.push(overlay);
      } else if (typeof step === 'string') {
        await backend.closeExport(target);
        const [older, younger] = [chain.at(-3), chain.at(-2)];
        if (step === 'merge' && older !== undefined && younger !== undefined) {
          await backend.merge(older, younger, chain.at(-1), notAborted());
          await backend.removeLayer(younger);
          chain.splice(-2, 1);
        }
        await expectBytes(backend, chain, model);
        target = await backend.openExport(randomUUID(), chain, { readOnly: false });
      } else {
        await writeThrough(target, step);
        applyTo(model, step);
      }
    }
  } finally {
    await backend.closeExport(target);
  }
  await expectBytes(backend, chain, model);
  for (const layer of chain) await backend.removeLayer(layer);
}
