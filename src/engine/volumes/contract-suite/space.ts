/** Space: what is left, what is refused when nothing is, and what is possible all the same. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Layer } from '../contract.ts';
import { diskBytes, type MakeBackend, mib, newLayer, notAborted, useTestDisks, write } from './test-disks.ts';

export function describeSpace(makeBackend: MakeBackend): void {
  describe('space', () => {
    const disks = useTestDisks(makeBackend);

    it('is known', async () => {
      const free = await disks.backend.freeBytes();
      expect(Number.isSafeInteger(free)).toBe(true);
      expect(free).toBeGreaterThan(0);
    });

    it('is taken for a merge before it begins, and given back', async () => {
      const { chain } = await disks.build([write(0, mib, 1)], [write(mib, 4 * mib, 2)], []);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      const room = await disks.backend.reserveMerge(older, younger);
      await disks.backend.merge(older, younger, child, notAborted());
      room.release();
      room.release();
      await disks.backend.removeLayer(younger);
      // A repeat after the end needs none.
      (await disks.backend.reserveMerge(older, younger)).release();
    });

    it('is refused to new layers at the watermark, and to nothing that takes none', async () => {
      const full = await makeBackend({ keptBytes: Number.MAX_SAFE_INTEGER });
      const refusal = { name: 'SpaceError', kind: 'no-space' };
      const layer = newLayer(randomUUID());
      expect(await full.backend.freeBytes()).toBe(0);
      await expect(full.backend.createLayer(layer, [])).rejects.toMatchObject(refusal);
      await expect(full.backend.prepareLayer(newLayer(randomUUID(), diskBytes, 'raw'), [])).rejects.toMatchObject(refusal);
      expect(await full.backend.allocatedBytes(layer)).toBe(0);
      await full.backend.removeLayer(layer);
      await full.dispose();
    });
  });
}
