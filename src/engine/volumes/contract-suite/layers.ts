/** Making, growing, reading and removing layers, and what they changed. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ExtentSet } from '../../disk/extent-set.ts';
import { openDisk } from '../../disk/open-disk.ts';
import type { Layer, LayerChain } from '../contract.ts';
import {
  applyTo,
  diskBytes,
  expectBytes,
  type MakeBackend,
  mib,
  newLayer,
  useTestDisks,
  write,
  writeOffline,
  writeThrough,
  zero,
} from './test-disks.ts';

export function describeLayers(makeBackend: MakeBackend): void {
  describe('layers', () => {
    const disks = useTestDisks(makeBackend);

    it('read as zeroes, or as what is below them', async () => {
      const { chain, model } = await disks.build([], [write(0, 4096, 1)], []);
      await expectBytes(disks.backend, chain.slice(0, 1), Buffer.alloc(diskBytes));
      await expectBytes(disks.backend, chain, model);
      await expectBytes(disks.under.another(), chain, model);
    });

    it('are made anew when they exist', async () => {
      const { chain, model, home } = await disks.build([write(0, mib, 1)]);
      const again = newLayer(home);
      await disks.backend.createLayer(again, chain);
      await writeOffline(disks.backend, [...chain, again], [write(0, mib, 2)]);
      await disks.backend.createLayer(again, chain);
      await expectBytes(disks.backend, [...chain, again], model);
    });

    it('do not stand on what does not exist, nor raw on anything', async () => {
      await expect(disks.backend.createLayer(newLayer('nowhere'), [newLayer('nowhere')])).rejects.toMatchObject({ kind: 'missing-layer' });
      const { chain, home } = await disks.build([]);
      const raw = newLayer(home, diskBytes, 'raw');
      await expect(disks.backend.createLayer(raw, chain)).rejects.toMatchObject({ kind: 'mismatch' });
      expect(await disks.backend.allocatedBytes(raw)).toBe(0);
    });

    it('are shared among disks', async () => {
      const { chain, model } = await disks.build([write(0, mib, 3)]);
      const [left, right] = [newLayer(randomUUID()), newLayer(randomUUID())];
      for (const top of [left, right]) await disks.backend.createLayer(top, chain);
      await writeOffline(disks.backend, [...chain, left], [write(4096, 4096, 4)]);
      await expectBytes(disks.backend, [...chain, right], model);
      await expectBytes(disks.backend, chain, model);
    });

    it('take space as long as they are there, and may be removed twice', async () => {
      const { chain, home } = await disks.build([write(0, mib, 1)]);
      const [layer] = chain as [Layer];
      const empty = newLayer(home);
      await disks.backend.createLayer(empty, chain);
      expect(await disks.backend.allocatedBytes(layer)).toBeGreaterThanOrEqual(mib);
      expect(await disks.backend.allocatedBytes(empty)).toBeGreaterThan(0);
      for (const gone of [empty, layer]) {
        await disks.backend.removeLayer(gone);
        await disks.backend.removeLayer(gone);
        expect(await disks.backend.allocatedBytes(gone)).toBe(0);
      }
      await expect(disks.backend.openExport(randomUUID(), chain, { readOnly: true })).rejects.toThrow();
    });

    it('are not removed while they are written to', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)]);
      const target = await disks.serve(chain);
      await expect(disks.backend.removeLayer(chain[0] as Layer)).rejects.toMatchObject({ kind: 'busy' });
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
    });

    describe('as sources of bytes', () => {
      it('hold still while the disk goes on', async () => {
        const { chain, model, home } = await disks.build([write(0, mib, 1)], [write(mib, mib, 2)]);
        const top = newLayer(home);
        await disks.backend.createLayer(top, chain);
        const target = await disks.serve([...chain, top]);
        await writeThrough(target, [write(0, 2 * mib, 3)]);
        await expectBytes(disks.backend, chain, model);
        await expectBytes(disks.backend, chain.slice(0, 1), Buffer.concat([Buffer.alloc(mib, 1), Buffer.alloc(diskBytes - mib)]));
      });

      it('can be read to the end by whoever opened them, whatever becomes of the layers', async () => {
        const { chain, model } = await disks.build([write(0, mib, 1)], [write(mib, mib, 2)]);
        const reader = openDisk(await disks.backend.source(chain));
        for (const layer of chain.toReversed()) await disks.backend.removeLayer(layer);
        const bytes = Buffer.alloc(diskBytes);
        reader.readSync(bytes, 0);
        reader.close();
        expect(bytes.equals(model)).toBe(true);
      });

      it('are plain data', async () => {
        const { chain } = await disks.build([write(0, mib, 1)]);
        const source = await disks.backend.source(chain);
        expect(structuredClone(source)).toEqual(source);
        expect(JSON.parse(JSON.stringify(source))).toEqual(source);
      });
    });

    describe('as a record of changes', () => {
      /** All of `exact`, and no more than whole grains around it. */
      const expectChanges = async (
        chain: LayerChain,
        exact: readonly (readonly [number, number])[],
        sizeBytes = diskBytes,
      ): Promise<ExtentSet> => {
        const changes = await disks.backend.changesOf(chain);
        if (changes === undefined) throw new Error('the changes are not known');
        for (const [start, end] of exact) expect(changes.covers(start, end)).toBe(true);
        const grains = exact.map(([start, end]) => [
          Math.floor(start / grainBytesMax) * grainBytesMax,
          Math.ceil(end / grainBytesMax) * grainBytesMax,
        ]);
        for (const [start, end] of changes.ranges()) {
          expect(end).toBeLessThanOrEqual(sizeBytes);
          expect(grains.some(([from = 0, to = 0]) => from < end && start < to)).toBe(true);
        }
        return changes;
      };

      it('tell which ranges they changed, zeroes included', async () => {
        const { chain } = await disks.build([write(0, 4 * mib, 1)], [write(mib, 65_536, 2), zero(2 * mib, 131_072)]);
        await expectChanges(chain.slice(0, 1), [[0, 4 * mib]]);
        await expectChanges(chain, [
          [mib, mib + 65_536],
          [2 * mib, 2 * mib + 131_072],
        ]);
      });

      it('tell of an empty layer that nothing changed', async () => {
        const { chain } = await disks.build([write(0, mib, 1)], []);
        expect((await disks.backend.changesOf(chain))?.isEmpty).toBe(true);
      });

      it('count the end that a smaller layer hides', async () => {
        const { chain, home } = await disks.build([write(0, diskBytes, 1)]);
        const small = newLayer(home, 4 * mib);
        await disks.backend.createLayer(small, chain);
        const large = newLayer(home);
        await disks.backend.createLayer(large, [...chain, small]);
        const wanted = Buffer.concat([Buffer.alloc(4 * mib, 1), Buffer.alloc(4 * mib)]);
        await expectBytes(disks.backend, [...chain, small, large], wanted);
        await expectChanges([...chain, small], [[4 * mib, diskBytes]]);
      });

      it('count what a layer hides after it has grown', async () => {
        const { chain, home } = await disks.build([write(0, diskBytes, 1)]);
        const top = newLayer(home, 4 * mib);
        await disks.backend.createLayer(top, chain);
        await disks.backend.resizeTop([...chain, top], diskBytes);
        await expectChanges([...chain, { ...top, sizeBytes: diskBytes }], [[4 * mib, diskBytes]]);
      });

      it('never tell less when they are asked late, with more above and less below', async () => {
        const { chain } = await disks.build([write(0, mib, 1)], [], [write(mib, 65_536, 2)], [], [write(3 * mib, 4096, 4)]);
        const [base, merged, asked, above, child] = chain as [Layer, Layer, Layer, Layer, Layer];
        const exact = [[mib, mib + 65_536]] as const;
        const before = await expectChanges([base, merged, asked], exact);
        await disks.backend.merge(base, merged, asked, { signal: new AbortController().signal });
        await disks.backend.removeLayer(merged);
        const after = await disks.under.another().changesOf([base, asked]);
        expect(before.subtract(after ?? before).isEmpty).toBe(true);
        await expectChanges([base, asked, above, child], [[3 * mib, 3 * mib + 4096]]);
      });
    });

    describe('that grow', () => {
      it.each([4 * mib, 4 * mib + 512])('grow with zeroes from %d bytes, also where a lower layer is larger', async (sizeBytes) => {
        const { chain, home } = await disks.build([write(0, diskBytes, 1)]);
        const top = newLayer(home, sizeBytes);
        await disks.backend.createLayer(top, chain);
        await disks.backend.resizeTop([...chain, top], diskBytes);
        await disks.backend.resizeTop([...chain, top], diskBytes);
        const wanted = Buffer.concat([Buffer.alloc(sizeBytes, 1), Buffer.alloc(diskBytes - sizeBytes)]);
        const grown = [...chain, { ...top, sizeBytes: diskBytes }];
        await expectBytes(disks.backend, grown, wanted);
        await writeOffline(disks.backend, grown, [write(diskBytes - 4096, 4096, 2)]);
        applyTo(wanted, [write(diskBytes - 4096, 4096, 2)]);
        await expectBytes(disks.backend, grown, wanted);
      });

      it.each(['raw', 'qcow2'] as const)('grow alone, as %s', async (format) => {
        const layer = newLayer(randomUUID(), mib + 512, format);
        await disks.backend.createLayer(layer, []);
        await writeOffline(disks.backend, [layer], [write(0, mib + 512, 1)]);
        await disks.backend.resizeTop([layer], 2 * mib);
        await expectBytes(
          disks.backend,
          [{ ...layer, sizeBytes: 2 * mib }],
          Buffer.concat([Buffer.alloc(mib + 512, 1), Buffer.alloc(mib - 512)]),
        );
      });

      it('never shrink, and only grow where they are, and not while they are served', async () => {
        const { chain, model } = await disks.build([write(0, mib, 1)]);
        await expect(disks.backend.resizeTop(chain, mib)).rejects.toMatchObject({ kind: 'mismatch' });
        await expect(disks.backend.resizeTop([], mib)).rejects.toMatchObject({ kind: 'mismatch' });
        await expect(disks.backend.resizeTop([newLayer('nowhere')], 2 * diskBytes)).rejects.toMatchObject({ kind: 'missing-layer' });
        await disks.serve(chain);
        await expect(disks.backend.resizeTop(chain, 2 * diskBytes)).rejects.toMatchObject({ kind: 'busy' });
        await expectBytes(disks.backend, chain, model);
      });
    });
  });
}

/** The coarsest in which a backend may tell changes: the objects of Ceph RBD. */
const grainBytesMax = 4 * mib;
