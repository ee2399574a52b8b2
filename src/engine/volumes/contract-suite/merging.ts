/** Folding layers together while nobody has the disk open. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ExtentSet } from '../../disk/extent-set.ts';
import type { Layer } from '../contract.ts';
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
  write,
  writeOffline,
  zero,
} from './test-disks.ts';

const plans = [
  [write(0, 3 * mib, 1), write(6 * mib, 100_352, 2)],
  [write(mib, mib, 3), zero(2 * mib, 524_288), write(7 * mib, 4096, 4)],
  [write(mib + 65_536, 4096, 5)],
];

export function describeMerging(makeBackend: MakeBackend): void {
  describe('merging', () => {
    const disks = useTestDisks(makeBackend);

    it('keeps every byte when the middle of three layers is folded into the lowest', async () => {
      const { chain, model } = await disks.build(...plans);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      const frozen = (await readDisk(disks.backend, [older, younger])).bytes;
      const calls: (readonly [number, number])[] = [];
      const onProgress = (done: number, total: number): number => calls.push([done, total]);
      await disks.backend.merge(older, younger, child, { ...notAborted(), onProgress });
      await disks.backend.merge(older, younger, child, notAborted());
      // Whoever still goes by the old list of layers sees the same disk.
      await expectBytes(disks.backend, chain, model);
      await disks.backend.removeLayer(younger);
      await disks.under.another().merge(older, younger, child, notAborted());
      await expectBytes(disks.backend, [older, child], model);
      await expectBytes(disks.backend, [older], frozen);
      await writeOffline(disks.backend, [older, child], [write(5 * mib, 4096, 6)]);
      applyTo(model, [write(5 * mib, 4096, 6)]);
      await expectBytes(disks.backend, [older, child], model);
      expect(calls.length).toBeGreaterThan(0);
      for (const [done, total] of calls) expect(done).toBeLessThanOrEqual(total);
      expect(calls.map(([done]) => done)).toEqual(calls.map(([done]) => done).toSorted((a, b) => a - b));
    });

    it('keeps every byte when the highest layer is folded into the middle', async () => {
      const { chain, model } = await disks.build(...plans);
      const [base, older, younger] = chain as [Layer, Layer, Layer];
      const below = (await readDisk(disks.backend, [base])).bytes;
      await disks.backend.merge(older, younger, undefined, notAborted());
      await disks.backend.removeLayer(younger);
      await disks.backend.merge(older, younger, undefined, notAborted());
      await expectBytes(disks.backend, [base, older], model);
      await expectBytes(disks.backend, [base], below);
    });

    it('keeps every byte of a raw base that a layer is folded into, and notes the change', async () => {
      const home = randomUUID();
      const base = newLayer(home, diskBytes, 'raw');
      const bytes = Buffer.alloc(diskBytes);
      bytes.fill(9, 0, 2 * mib);
      await writeFile((await disks.backend.prepareLayer(base, [])).path, bytes);
      await disks.backend.sealLayer(base, [], ExtentSet.of([[0, 2 * mib]]));
      const [younger, child] = [newLayer(home), newLayer(home)];
      await disks.backend.createLayer(younger, [base]);
      const writes = [write(4 * mib, 65_536, 1), zero(0, mib)];
      await writeOffline(disks.backend, [base, younger], writes);
      applyTo(bytes, writes);
      await disks.backend.createLayer(child, [base, younger]);
      await disks.backend.merge(base, younger, child, notAborted());
      await disks.backend.removeLayer(younger);
      await expectBytes(disks.backend, [base, child], bytes);
      expect([...(await readDisk(disks.backend, [base])).allocated.ranges()]).toEqual([
        [mib, 2 * mib],
        [4 * mib, 4 * mib + 65_536],
      ]);
    });

    it('works on layers of different disks', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)]);
      const [younger, child] = [newLayer(randomUUID()), newLayer(randomUUID())];
      await disks.backend.createLayer(younger, chain);
      await writeOffline(disks.backend, [...chain, younger], [write(mib, 65_536, 2), zero(0, 65_536)]);
      applyTo(model, [write(mib, 65_536, 2), zero(0, 65_536)]);
      await disks.backend.createLayer(child, [...chain, younger]);
      await disks.backend.merge(chain[0] as Layer, younger, child, notAborted());
      await disks.backend.removeLayer(younger);
      await expectBytes(disks.backend, [...chain, child], model);
    });

    it('shortens a chain step by step to one layer', async () => {
      const { chain, model } = await disks.build(...Array.from({ length: 6 }, (_, i) => [write(i * mib, mib + 4096, i + 1)]));
      const [base, ...others] = chain as [Layer, ...Layer[]];
      for (const [i, younger] of others.entries()) {
        await disks.backend.merge(base, younger, others[i + 1], notAborted());
        await disks.backend.removeLayer(younger);
        await expectBytes(disks.backend, [base, ...others.slice(i + 1)], model);
      }
    });

    it('does not let zeroes take space', async () => {
      const { chain } = await disks.build([write(0, 4 * mib, 1)], [zero(0, 4 * mib), zero(4 * mib, 4 * mib)]);
      const [older, younger] = chain as [Layer, Layer];
      const before = await disks.backend.allocatedBytes(older);
      await disks.backend.merge(older, younger, undefined, notAborted());
      expect(await disks.backend.allocatedBytes(older)).toBeLessThanOrEqual(before);
      await expectBytes(disks.backend, [older], Buffer.alloc(diskBytes));
    });

    it.each([
      [4 * mib, 'smaller', diskBytes],
      [diskBytes + mib, 'larger', diskBytes + 2 * mib],
    ])('keeps what is hidden hidden when the younger layer has %d bytes and is %s', async (youngerBytes, _how, childBytes) => {
      const { chain, home } = await disks.build([write(0, diskBytes, 1)], [write(3 * mib, mib, 2)]);
      const [base, older] = chain as [Layer, Layer];
      const younger = newLayer(home, youngerBytes);
      await disks.backend.createLayer(younger, chain);
      await writeOffline(disks.backend, [...chain, younger], [write(mib, 4096, 3)]);
      const child = newLayer(home, childBytes);
      await disks.backend.createLayer(child, [...chain, younger]);
      const wanted = (await readDisk(disks.backend, [...chain, younger, child])).bytes;
      await disks.backend.merge(older, younger, child, notAborted());
      await disks.backend.removeLayer(younger);
      await expectBytes(disks.backend, [base, { ...older, sizeBytes: youngerBytes }, child], wanted);
    });

    it('refuses to fold layers that do not stand on each other', async () => {
      const { chain, model } = await disks.build(...plans);
      const [base, middle, top] = chain as [Layer, Layer, Layer];
      const stranger = (await disks.build([])).chain[0] as Layer;
      for (const [older, younger, child] of [
        [base, top, undefined],
        [middle, base, undefined],
        [base, middle, stranger],
      ] as const) {
        await expect(disks.backend.merge(older, younger, child, notAborted())).rejects.toMatchObject({ kind: 'mismatch' });
      }
      await expectBytes(disks.backend, chain, model);
    });

    it('refuses to fold what is not there', async () => {
      const { chain, model, home } = await disks.build(...plans);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      const missing = newLayer(home);
      for (const call of [
        disks.backend.merge(missing, missing, undefined, notAborted()),
        disks.backend.merge(older, missing, child, notAborted()),
      ]) {
        await expect(call).rejects.toMatchObject({ kind: expect.stringMatching(/missing-layer|mismatch/) });
      }
      await expect(disks.backend.merge(older, younger, missing, notAborted())).rejects.toThrow();
      await expectBytes(disks.backend, chain, model);
    });

    it('refuses to fold what is being served', async () => {
      const { chain, model } = await disks.build(...plans);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      const target = await disks.serve(chain);
      await expect(disks.backend.merge(older, younger, child, notAborted())).rejects.toMatchObject({ kind: 'busy' });
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
    });

    it('does nothing when it is aborted beforehand', async () => {
      const { chain, model } = await disks.build(...plans);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      await expect(disks.backend.merge(older, younger, child, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
        'enough',
      );
      await expectBytes(disks.backend, chain, model);
    });

    it('can be aborted at any moment, and repeated', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)], [write(mib, 6 * mib, 2), zero(0, 524_288)], [write(3 * mib, 4096, 3)]);
      const [older, younger, child] = chain as [Layer, Layer, Layer];
      for (const turns of [0, 1, 10, 1000]) {
        const aborter = new AbortController();
        const merging = disks.backend.merge(older, younger, child, { signal: aborter.signal }).then(
          () => undefined,
          (error: unknown) => error,
        );
        for (let i = 0; i < turns; i += 1) await turn();
        const reason = new Error('somebody wants the disk');
        aborter.abort(reason);
        // It may have been done before.
        expect([undefined, reason]).toContain(await merging);
        await expectBytes(disks.backend, chain, model);
      }
      await disks.backend.merge(older, younger, child, notAborted());
      await disks.backend.removeLayer(younger);
      await expectBytes(disks.backend, [older, child], model);
    });
  });
}
