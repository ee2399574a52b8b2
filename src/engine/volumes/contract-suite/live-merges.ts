/** Folding layers together while a server has the disk open for writing. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { connectNbd } from '../../../../test/support/nbd-client.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import type { DiskExport, Layer } from '../contract.ts';
import {
  applyTo,
  diskBytes,
  expectBytes,
  type MakeBackend,
  mib,
  newLayer,
  notAborted,
  readDisk,
  useTestDisks,
  type Write,
  write,
  writeOffline,
  writeThrough,
  zero,
} from './test-disks.ts';

type Four = [Layer, Layer, Layer, Layer];

const idsOf = (chain: readonly Layer[]): string[] => chain.map((layer) => layer.id);

const plans: readonly (readonly Write[])[] = [
  [write(0, 3 * mib, 1), write(6 * mib, 100_352, 2)],
  [write(mib, mib, 3), zero(2 * mib, 524_288), write(7 * mib, 4096, 4)],
  [write(mib + 65_536, 4096, 5)],
  [write(5 * mib, 4096, 6)],
];

export function describeLiveMerges(makeBackend: MakeBackend): void {
  describe('merging while a client has the disk open', () => {
    const disks = useTestDisks(makeBackend);

    const snapshot = async (target: DiskExport, chain: Layer[]): Promise<void> => {
      const overlay = newLayer(target.home, chain.at(-1)?.sizeBytes);
      await disks.backend.createLayer(overlay, chain);
      await disks.backend.snapshotExport(target, chain, overlay);
      chain.push(overlay);
    };
    /** A served disk whose layers hold the writes, bottom first; all but the last are frozen by live snapshots. */
    const buildServed = async (
      writesOfLayers: readonly (readonly Write[])[],
      below: readonly Layer[] = [],
      home = randomUUID(),
    ): Promise<{ chain: Layer[]; model: Buffer; target: DiskExport }> => {
      const chain = [...below, newLayer(home)];
      const model = below.length === 0 ? Buffer.alloc(diskBytes) : (await readDisk(disks.backend, below)).bytes;
      await disks.backend.createLayer(chain.at(-1) as Layer, below);
      const target = await disks.serve(chain);
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
      await disks.backend.mergeExport(target, chain, older, younger, notAborted());
      chain.splice(at, 1);
      chain[at - 1] = { ...older, sizeBytes: younger.sizeBytes };
      await disks.backend.removeLayer(younger);
    };

    it.each([
      [1, 'the lowest two of four'],
      [2, 'the two below the top'],
    ])('keeps every byte of the disk and of the points above (%d: %s)', async (at) => {
      const { chain, model, target } = await buildServed(plans);
      const point = (await readDisk(disks.backend, chain.slice(0, at + 1))).bytes;
      const below = (await readDisk(disks.backend, chain.slice(0, at - 1))).bytes;
      await merge(target, chain, at);
      await expectBytes(disks.backend, chain.slice(0, at), point);
      if (at > 1) await expectBytes(disks.backend, chain.slice(0, at - 1), below);
      expect(await disks.backend.inspectExport(target)).toEqual({ alive: true, layerIds: idsOf(chain) });
      await writeThrough(target, [write(0, 4096, 9)]);
      applyTo(model, [write(0, 4096, 9)]);
      await snapshot(target, chain);
      await expectBytes(disks.backend, chain.slice(0, -1), model);
      await disks.backend.closeExport(target);
      await writeOffline(disks.backend, chain, [write(mib, 512, 8)]);
      applyTo(model, [write(mib, 512, 8)]);
      await expectBytes(disks.backend, chain, model);
    });

    it('lets clients write all the while, and snapshots follow it', async () => {
      const { chain, model, target } = await buildServed(plans);
      const [older, younger, child, top] = chain as Four;
      const client = await connectNbd(target.socketPath);
      let isMerged = false;
      let writes = 0;
      const writing = (async () => {
        while (!isMerged || writes < 20) {
          const one = write((writes % 100) * 65_536, 65_536, (writes % 255) + 1);
          await client.write(one.at, Buffer.alloc(one.length, (writes % 255) + 1));
          applyTo(model, [one]);
          writes += 1;
        }
      })();
      await disks.backend.mergeExport(target, chain, older, younger, notAborted());
      isMerged = true;
      await writing;
      await client.close();
      await disks.backend.removeLayer(younger);
      const overlay = newLayer(target.home);
      const after = [older, child, top];
      await disks.backend.createLayer(overlay, after);
      await disks.backend.snapshotExport(target, after, overlay);
      await expectBytes(disks.backend, after, model);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, [...after, overlay], model);
    });

    it('merges all of a chain, one after the other, also layers that were frozen before the server started', async () => {
      const { chain, model, target } = await buildServed(plans);
      await disks.backend.closeExport(target);
      const again = await disks.serve(chain);
      while (chain.length > 2) await merge(again, chain, 1);
      expect((await disks.backend.inspectExport(again)).layerIds).toEqual(idsOf(chain));
      await disks.backend.closeExport(again);
      await expectBytes(disks.backend, chain, model);
      // Nor is anything in the way of a merge without a server.
      const top = newLayer(again.home);
      await disks.backend.createLayer(top, chain);
      await disks.backend.merge(chain[0] as Layer, chain[1] as Layer, top, notAborted());
      await expectBytes(disks.backend, [chain[0] as Layer, top], model);
    });

    it('may be repeated, by another instance too, before the layer is removed and after it', async () => {
      const { chain, model, target } = await buildServed(plans);
      const [older, younger] = chain as [Layer, Layer];
      const merged = chain.filter((layer) => layer !== younger);
      await disks.backend.mergeExport(target, chain, older, younger, notAborted());
      await disks.under.another().mergeExport(target, chain, older, younger, notAborted());
      await disks.backend.removeLayer(younger);
      await disks.backend.mergeExport(target, chain, older, younger, notAborted());
      expect((await disks.backend.inspectExport(target)).layerIds).toEqual(idsOf(merged));
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, merged, model);
    });

    it('keeps every byte of a raw base, and knows which of its ranges hold data', async () => {
      const home = randomUUID();
      const base = newLayer(home, diskBytes, 'raw');
      const bytes = Buffer.alloc(diskBytes);
      bytes.fill(9, 0, 2 * mib);
      const { path } = await disks.backend.prepareLayer(base, []);
      await writeFile(path, bytes);
      await disks.backend.sealLayer(base, [], ExtentSet.of([[0, 2 * mib]]));
      const { chain, model, target } = await buildServed([[write(4 * mib, 65_536, 1), zero(0, mib)], []], [base], home);
      await merge(target, chain, 1);
      expect([...(await readDisk(disks.backend, [chain[0] as Layer])).allocated.ranges()]).toEqual([
        [mib, 2 * mib],
        [4 * mib, 4 * mib + 65_536],
      ]);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
    });

    it('does not let zeroes take space', async () => {
      const { chain, target } = await buildServed([[write(0, 4 * mib, 1)], [zero(0, 4 * mib), zero(4 * mib, 4 * mib)], []]);
      const before = await disks.backend.allocatedBytes(chain[0] as Layer);
      await merge(target, chain, 1);
      expect(await disks.backend.allocatedBytes(chain[0] as Layer)).toBeLessThanOrEqual(before);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, Buffer.alloc(diskBytes));
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
        await disks.backend.createLayer(layer, chain);
        chain.push(layer);
        await writeOffline(disks.backend, chain, writes);
      }
      const wanted = (await readDisk(disks.backend, chain)).bytes;
      const target = await disks.serve(chain);
      await merge(target, chain, 2);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, wanted);
    });

    it('leaves everything as it was when it is aborted, and a snapshot works at once', async () => {
      const { chain, model, target } = await buildServed(plans);
      const [older, younger] = chain as [Layer, Layer];
      const reason = new Error('somebody wants a snapshot');
      await expect(disks.backend.mergeExport(target, chain, older, younger, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const abort = new AbortController();
      const merging = disks.backend.mergeExport(target, chain, older, younger, { signal: abort.signal }).then(
        () => chain.splice(1, 1),
        (error: unknown) => expect(error).toBe(reason),
      );
      abort.abort(reason);
      await merging;
      expect((await disks.backend.inspectExport(target)).layerIds).toEqual(idsOf(chain));
      await snapshot(target, chain);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
    });

    it('can be aborted at any moment, and repeated', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)], [write(mib, 6 * mib, 2), zero(0, 524_288)], [write(3 * mib, 4096, 3)]);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      const target = await disks.serve(chain);
      for (const turns of [0, 1, 10, 1000]) {
        const aborter = new AbortController();
        const merging = disks.backend.mergeExport(target, chain, older, younger, { signal: aborter.signal }).then(
          () => undefined,
          (error: unknown) => error,
        );
        for (let i = 0; i < turns; i += 1) await turn();
        const reason = new Error('somebody wants a snapshot');
        aborter.abort(reason);
        const outcome = await merging;
        // It may have been done before.
        expect([undefined, reason]).toContain(outcome);
        expect((await disks.backend.inspectExport(target)).layerIds).toEqual(idsOf(outcome === undefined ? [older, child] : chain));
      }
      await disks.under.another().mergeExport(target, chain, older, younger, notAborted());
      await disks.backend.removeLayer(younger);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, [older, child], model);
    });

    it('leaves the disk whole when the server is killed in the middle', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)], [write(mib, 6 * mib, 2), zero(0, 524_288)], [write(3 * mib, 4096, 3)]);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      const target = await disks.serve(chain);
      const merging = disks.backend.mergeExport(target, chain, older, younger, notAborted()).then(
        () => 'merged',
        () => 'not merged',
      );
      await turn();
      await disks.under.kill(target);
      await merging;
      const successor = disks.under.another();
      await successor.closeExport(target);
      await expectBytes(successor, chain, model);
      await successor.merge(older, younger, child, notAborted());
      await successor.removeLayer(younger);
      await expectBytes(successor, [older, child], model);
    });

    it('refuses layers that are no neighbours below the top, or not of this disk', async () => {
      const { chain, model, target } = await buildServed(plans);
      const [base, older, younger, top] = chain as [Layer, Layer, Layer, Layer];
      const refused = { kind: 'mismatch' };
      await expect(disks.backend.mergeExport(target, chain, base, younger, notAborted())).rejects.toMatchObject(refused);
      await expect(disks.backend.mergeExport(target, chain, younger, top, notAborted())).rejects.toMatchObject(refused);
      await expect(disks.backend.mergeExport(target, chain, older, newLayer(target.home), notAborted())).rejects.toMatchObject(refused);
      await expect(disks.backend.mergeExport(target, chain.slice(1), older, younger, notAborted())).rejects.toMatchObject(refused);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
    });

    it('refuses layers of another home, which others may be reading, and a younger layer that is smaller', async () => {
      const { chain: lower, target: lowerTarget } = await buildServed(plans.slice(0, 3));
      await disks.backend.closeExport(lowerTarget);
      const { chain, model, target } = await buildServed([[write(0, 4096, 7)], []], lower);
      const [first, second, third, fourth] = chain as [Layer, Layer, Layer, Layer];
      for (const [older, younger] of [
        [first, second],
        [second, third],
        [third, fourth],
      ] as const) {
        await expect(disks.backend.mergeExport(target, chain, older, younger, notAborted())).rejects.toMatchObject({ kind: 'mismatch' });
      }
      const shrunken = chain.with(4, { ...(chain[4] as Layer) }).with(3, { ...fourth, sizeBytes: mib });
      await expect(disks.backend.mergeExport(target, shrunken, third, shrunken[3] as Layer, notAborted())).rejects.toMatchObject({
        kind: 'mismatch',
      });
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
    });

    it('refuses a younger layer that hides the end of the older one', async () => {
      const { chain, home } = await disks.build([write(0, diskBytes, 1)]);
      const [younger, top] = [newLayer(home, 4 * mib), newLayer(home)];
      for (const layer of [younger, top]) {
        await disks.backend.createLayer(layer, chain);
        chain.push(layer);
      }
      const target = await disks.serve(chain);
      const merging = disks.backend.mergeExport(target, chain, chain[0] as Layer, younger, notAborted());
      await expect(merging).rejects.toMatchObject({ kind: 'mismatch' });
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, Buffer.concat([Buffer.alloc(4 * mib, 1), Buffer.alloc(4 * mib)]));
    });

    it('is refused when the server is gone', async () => {
      const { chain, model, target } = await buildServed(plans);
      await disks.backend.closeExport(target);
      const [older, younger] = chain as [Layer, Layer];
      await expect(disks.backend.mergeExport(target, chain, older, younger, notAborted())).rejects.toMatchObject({ kind: 'gone' });
      await expectBytes(disks.backend, chain, model);
    });
  });
}
