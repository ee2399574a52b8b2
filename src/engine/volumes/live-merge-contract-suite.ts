/** What every volume backend must do when layers are merged below connected clients, as tests: a part of the contract suite. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ExtentSet } from '../disk/extent-set.ts';
import type { DiskExport, Layer, VolumeBackend } from './contract.ts';
import {
  applyTo,
  type BackendUnderTest,
  expectBytes,
  newLayer,
  readDisk,
  type Write,
  writeOffline,
  writeThrough,
} from './contract-suite.ts';

const mib = 2 ** 20;
const diskBytes = 8 * mib;
const notAborted = () => ({ signal: new AbortController().signal });
const write = (at: number, length: number, pattern: number): Write => ({ kind: 'write', at, length, pattern });
const zero = (at: number, length: number): Write => ({ kind: 'zero', at, length });
const idsOf = (chain: readonly Layer[]): string[] => chain.map((layer) => layer.id);

const plans: readonly (readonly Write[])[] = [
  [write(0, 3 * mib, 1), write(6 * mib, 100_352, 2)],
  [write(mib, mib, 3), zero(2 * mib, 524_288), write(7 * mib, 4096, 4)],
  [write(mib + 65_536, 4096, 5)],
  [write(5 * mib, 4096, 6)],
];

export function describeLiveMerges(name: string, makeBackend: () => Promise<BackendUnderTest>): void {
  describe(`${name}: merging while a client has the disk open`, () => {
    let under: BackendUnderTest;
    let backend: VolumeBackend;
    const opened: DiskExport[] = [];
    beforeAll(async () => {
      under = await makeBackend();
      backend = under.backend;
    });
    afterEach(async () => {
      for (const target of opened.splice(0)) await backend.closeExport(target);
    });
    afterAll(() => under.dispose());

    const serve = async (chain: readonly Layer[]): Promise<DiskExport> => {
      const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
      opened.push(target);
      return target;
    };
    const snapshot = async (target: DiskExport, chain: Layer[]): Promise<void> => {
      const overlay = newLayer(target.home, chain.at(-1)?.sizeBytes);
      await backend.createLayer(overlay, chain);
      await backend.snapshotExport(target, chain, overlay);
      chain.push(overlay);
    };
    /** A served disk whose layers hold the writes, bottom first; all but the last are frozen by live snapshots. */
    const build = async (
      writesOfLayers: readonly (readonly Write[])[],
      below: readonly Layer[] = [],
      home = randomUUID(),
    ): Promise<{ chain: Layer[]; model: Buffer; target: DiskExport }> => {
      const chain = [...below, newLayer(home)];
      const model = below.length === 0 ? Buffer.alloc(diskBytes) : (await readDisk(backend, below)).bytes;
      await backend.createLayer(chain.at(-1) as Layer, below);
      const target = await serve(chain);
      for (const [i, writes] of writesOfLayers.entries()) {
        if (i > 0) await snapshot(target, chain);
        if (writes.length > 0) await writeThrough(target, writes);
        applyTo(model, writes);
      }
      return { chain, model, target };
    };
    /** Merges a layer into the one below it, and takes it out of the chain. */
    const merge = async (target: DiskExport, chain: Layer[], at: number): Promise<void> => {
      const [older, younger] = [chain[at - 1] as Layer, chain[at] as Layer];
      await backend.mergeExport(target, chain, older, younger, notAborted());
      chain.splice(at, 1);
      chain[at - 1] = { ...older, sizeBytes: younger.sizeBytes };
      await backend.removeLayer(younger);
    };

    it.each([
      [1, 'the lowest two of four'],
      [2, 'the two below the top'],
    ])('keeps every byte of the disk and of the points above (%d: %s)', async (at) => {
      const { chain, model, target } = await build(plans);
      const point = (await readDisk(backend, chain.slice(0, at + 1))).bytes;
      const below = (await readDisk(backend, chain.slice(0, at - 1))).bytes;
      await merge(target, chain, at);
      await expectBytes(backend, chain.slice(0, at), point);
      if (at > 1) await expectBytes(backend, chain.slice(0, at - 1), below);
      expect(await backend.inspectExport(target)).toEqual({ alive: true, layerIds: idsOf(chain) });
      await writeThrough(target, [write(0, 4096, 9)]);
      applyTo(model, [write(0, 4096, 9)]);
      await snapshot(target, chain);
      await expectBytes(backend, chain.slice(0, -1), model);
      await backend.closeExport(target);
      await writeOffline(backend, chain, [write(mib, 512, 8)]);
      applyTo(model, [write(mib, 512, 8)]);
      await expectBytes(backend, chain, model);
    });

    it('keeps what clients write while layers merge', async () => {
      const { chain, model, target } = await build([[write(0, 6 * mib, 1)], [write(mib, 4 * mib, 2)], []]);
      const later = Array.from({ length: 60 }, (_, i) => write(i * 131_072, 4096, (i % 250) + 1));
      await Promise.all([merge(target, chain, 1), writeThrough(target, later)]);
      applyTo(model, later);
      await backend.closeExport(target);
      await expectBytes(backend, chain, model);
    });

    it('merges all of a chain, one after the other, also layers that were frozen before the server started', async () => {
      const { chain, model, target } = await build(plans);
      await backend.closeExport(target);
      const again = await serve(chain);
      while (chain.length > 2) await merge(again, chain, 1);
      expect((await backend.inspectExport(again)).layerIds).toEqual(idsOf(chain));
      await backend.closeExport(again);
      await expectBytes(backend, chain, model);
      // Nor is anything in the way of a merge without a server.
      const top = newLayer(again.home);
      await backend.createLayer(top, chain);
      await backend.merge(chain[0] as Layer, chain[1] as Layer, top, notAborted());
      await expectBytes(backend, [chain[0] as Layer, top], model);
    });

    it('may be repeated, by another instance too, before the layer is removed and after it', async () => {
      const { chain, model, target } = await build(plans);
      const [older, younger] = chain as [Layer, Layer];
      const merged = chain.filter((layer) => layer !== younger);
      await backend.mergeExport(target, chain, older, younger, notAborted());
      await under.another().mergeExport(target, chain, older, younger, notAborted());
      await backend.removeLayer(younger);
      await backend.mergeExport(target, chain, older, younger, notAborted());
      expect((await backend.inspectExport(target)).layerIds).toEqual(idsOf(merged));
      await backend.closeExport(target);
      await expectBytes(backend, merged, model);
    });

    it('keeps every byte of a raw base, and knows which of its ranges hold data', async () => {
      const home = randomUUID();
      const base = newLayer(home, diskBytes, 'raw');
      const bytes = Buffer.alloc(diskBytes);
      bytes.fill(9, 0, 2 * mib);
      const { path } = await backend.prepareLayer(base, []);
      await writeFile(path, bytes);
      await backend.sealLayer(base, [], ExtentSet.of([[0, 2 * mib]]));
      const { chain, model, target } = await build([[write(4 * mib, 65_536, 1), zero(0, mib)], []], [base], home);
      await merge(target, chain, 1);
      expect([...(await readDisk(backend, [chain[0] as Layer])).allocated.ranges()]).toEqual([
        [mib, 2 * mib],
        [4 * mib, 4 * mib + 65_536],
      ]);
      await backend.closeExport(target);
      await expectBytes(backend, chain, model);
    });

    it('does not let zeroes take space', async () => {
      const { chain, target } = await build([[write(0, 4 * mib, 1)], [zero(0, 4 * mib), zero(4 * mib, 4 * mib)], []]);
      const before = await backend.allocatedBytes(chain[0] as Layer);
      await merge(target, chain, 1);
      expect(await backend.allocatedBytes(chain[0] as Layer)).toBeLessThanOrEqual(before);
      await backend.closeExport(target);
      await expectBytes(backend, chain, Buffer.alloc(diskBytes));
    });

    it('shows zeroes where a larger layer was merged into a smaller one, also above a layer that is larger still', async () => {
      const home = randomUUID();
      const [base, older, younger, top] = [
        newLayer(home, diskBytes),
        newLayer(home, 4 * mib),
        newLayer(home, 6 * mib),
        newLayer(home, 6 * mib),
      ] as const;
      const chain: Layer[] = [];
      for (const [layer, writes] of [
        [base, [write(0, diskBytes, 1)]],
        [older, [write(3 * mib, mib, 2)]],
        [younger, [write(mib, 4096, 3)]],
        [top, []],
      ] as const) {
        await backend.createLayer(layer, chain);
        chain.push(layer);
        await writeOffline(backend, chain, writes);
      }
      const wanted = (await readDisk(backend, chain)).bytes;
      const target = await serve(chain);
      await merge(target, chain, 2);
      await backend.closeExport(target);
      await expectBytes(backend, chain, wanted);
    });

    it('leaves everything as it was when it is aborted, and a snapshot works at once', async () => {
      const { chain, model, target } = await build(plans);
      const [older, younger] = chain as [Layer, Layer];
      const reason = new Error('somebody wants a snapshot');
      await expect(backend.mergeExport(target, chain, older, younger, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const abort = new AbortController();
      const merging = backend.mergeExport(target, chain, older, younger, { signal: abort.signal }).then(
        () => chain.splice(1, 1),
        (error: unknown) => expect(error).toBe(reason),
      );
      abort.abort(reason);
      await merging;
      expect((await backend.inspectExport(target)).layerIds).toEqual(idsOf(chain));
      await snapshot(target, chain);
      await backend.closeExport(target);
      await expectBytes(backend, chain, model);
    });

    it('refuses layers that are no neighbours below the top, or not of this disk', async () => {
      const { chain, model, target } = await build(plans);
      const [base, older, younger, top] = chain as [Layer, Layer, Layer, Layer];
      const refused = { kind: 'mismatch' };
      await expect(backend.mergeExport(target, chain, base, younger, notAborted())).rejects.toMatchObject(refused);
      await expect(backend.mergeExport(target, chain, younger, top, notAborted())).rejects.toMatchObject(refused);
      await expect(backend.mergeExport(target, chain, older, newLayer(target.home), notAborted())).rejects.toMatchObject(refused);
      await expect(backend.mergeExport(target, chain.slice(1), older, younger, notAborted())).rejects.toMatchObject(refused);
      await backend.closeExport(target);
      await expectBytes(backend, chain, model);
    });

    it('refuses layers of another home, which others may be reading, and a younger layer that is smaller', async () => {
      const { chain: lower, target: lowerTarget } = await build(plans.slice(0, 3));
      await backend.closeExport(lowerTarget);
      const { chain, model, target } = await build([[write(0, 4096, 7)], []], lower);
      const [first, second, third, fourth] = chain as [Layer, Layer, Layer, Layer];
      for (const [older, younger] of [
        [first, second],
        [second, third],
        [third, fourth],
      ] as const) {
        await expect(backend.mergeExport(target, chain, older, younger, notAborted())).rejects.toMatchObject({ kind: 'mismatch' });
      }
      const shrunken = chain.with(4, { ...(chain[4] as Layer) }).with(3, { ...fourth, sizeBytes: mib });
      await expect(backend.mergeExport(target, shrunken, third, shrunken[3] as Layer, notAborted())).rejects.toMatchObject({
        kind: 'mismatch',
      });
      await backend.closeExport(target);
      await expectBytes(backend, chain, model);
    });

    it('is refused when the server is gone', async () => {
      const { chain, model, target } = await build(plans);
      await backend.closeExport(target);
      const [older, younger] = chain as [Layer, Layer];
      await expect(backend.mergeExport(target, chain, older, younger, notAborted())).rejects.toMatchObject({ kind: 'gone' });
      await expectBytes(backend, chain, model);
    });
  });
}
