/** Layers that somebody else writes: at a target, perhaps half, perhaps not as they say. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { LayerTarget } from '../../disk/contract.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import { FilledQcow2 } from '../../disk/write-qcow2-filled.ts';
import type { Layer } from '../contract.ts';
import { diskBytes, expectBytes, type MakeBackend, mib, newLayer, readDisk, useTestDisks, write, writeOffline } from './test-disks.ts';

const clusterBytes = 65_536;

/** A cluster of `pattern` at 1 MiB, and one of zeroes at 2 MiB. */
async function writeOverlay(target: LayerTarget, pattern: number): Promise<void> {
  const writer = await FilledQcow2.create(target.path, { sizeBytes: target.sizeBytes, backing: target.backing });
  const atBytes = await writer.addData(mib, 1);
  const file = await open(target.path, 'r+');
  await file.write(Buffer.alloc(clusterBytes, pattern), 0, clusterBytes, atBytes);
  await file.close();
  await writer.addZeroes(2 * mib, 1);
  await writer.finish();
}

const written = ExtentSet.of([
  [mib, mib + clusterBytes],
  [2 * mib, 2 * mib + clusterBytes],
]);

export function describeWrittenLayers(makeBackend: MakeBackend): void {
  describe('layers that somebody else wrote', () => {
    const disks = useTestDisks(makeBackend);

    it('are bases, with notes of where their data is', async () => {
      const base = newLayer(randomUUID(), diskBytes, 'raw');
      const bytes = Buffer.alloc(2 * mib);
      bytes.fill(9, mib);
      const target = await disks.backend.prepareLayer(base, []);
      expect(target).toMatchObject({ format: 'raw', sizeBytes: diskBytes });
      expect(JSON.parse(JSON.stringify(target))).toEqual(target);
      await writeFile(target.path, bytes);
      await disks.backend.sealLayer(base, [], ExtentSet.of([[mib, 2 * mib]]));
      await disks.under.another().sealLayer(base, [], ExtentSet.of([[mib, 2 * mib]]));
      await expectBytes(disks.backend, [base], Buffer.concat([bytes, Buffer.alloc(diskBytes - bytes.length)]));
      expect([...(await readDisk(disks.backend, [base])).allocated.ranges()]).toEqual([[mib, 2 * mib]]);
      const top = newLayer(base.home);
      await disks.backend.createLayer(top, [base]);
      await writeOffline(disks.backend, [base, top], [write(0, 4096, 1)]);
      expect((await disks.backend.changesOf([base, top]))?.covers(0, 4096)).toBe(true);
    });

    it('are read as before, and in all of their length, once nobody believes the notes', async () => {
      const base = newLayer(randomUUID(), diskBytes, 'raw');
      const bytes = Buffer.concat([Buffer.alloc(mib, 9), Buffer.alloc(diskBytes - mib)]);
      await writeFile((await disks.backend.prepareLayer(base, [])).path, bytes);
      await disks.backend.sealLayer(base, [], ExtentSet.of([[0, mib]]));
      for (let i = 0; i < 2; i += 1) await disks.backend.forgetAllocation?.(base);
      await expectBytes(disks.under.another(), [base], bytes);
      const { allocated } = await readDisk(disks.backend, [base]);
      expect(allocated.totalBytes).toBe(disks.backend.forgetAllocation === undefined ? mib : diskBytes);
    });

    it('are not bases when they are longer than they may be, or not there', async () => {
      const base = newLayer(randomUUID(), mib, 'raw');
      const { path } = await disks.backend.prepareLayer(base, []);
      await expect(disks.backend.sealLayer(base, [], ExtentSet.empty)).rejects.toThrow();
      await writeFile(path, Buffer.alloc(mib + 1));
      await expect(disks.backend.sealLayer(base, [], ExtentSet.empty)).rejects.toMatchObject({ kind: 'mismatch' });
    });

    it('are written anew after an attempt that was given up', async () => {
      const base = newLayer(randomUUID(), diskBytes, 'raw');
      await writeFile((await disks.backend.prepareLayer(base, [])).path, Buffer.alloc(mib, 1));
      await disks.backend.sealLayer(base, [], ExtentSet.of([[0, mib]]));
      const { path } = await disks.under.another().prepareLayer(base, []);
      await writeFile(path, Buffer.alloc(mib));
      await disks.backend.sealLayer(base, [], ExtentSet.empty);
      await expectBytes(disks.backend, [base], Buffer.alloc(diskBytes));
      expect((await readDisk(disks.backend, [base])).allocated.isEmpty).toBe(true);
    });

    it('leave nothing when they are removed half-written', async () => {
      const base = newLayer(randomUUID(), diskBytes, 'raw');
      const { path } = await disks.backend.prepareLayer(base, []);
      await writeFile(path, Buffer.alloc(mib, 1));
      await disks.backend.removeLayer(base);
      expect(existsSync(path)).toBe(false);
      expect(await disks.backend.allocatedBytes(base)).toBe(0);
    });

    it('are overlays', async () => {
      const { chain, model, home } = await disks.build([write(0, 4 * mib, 1)]);
      const overlay = newLayer(home);
      const target = await disks.backend.prepareLayer(overlay, chain);
      await writeOverlay(target, 7);
      await disks.backend.sealLayer(overlay, chain, written);
      await disks.backend.sealLayer(overlay, chain, written);
      model.fill(7, mib, mib + clusterBytes).fill(0, 2 * mib, 2 * mib + clusterBytes);
      await expectBytes(disks.backend, [...chain, overlay], model);
      const changes = await disks.backend.changesOf([...chain, overlay]);
      expect(written.subtract(changes ?? ExtentSet.empty).isEmpty).toBe(true);
      const top = newLayer(home);
      await disks.backend.createLayer(top, [...chain, overlay]);
      await disks.backend.merge(chain[0] as Layer, overlay, top, { signal: new AbortController().signal });
      await disks.backend.removeLayer(overlay);
      await expectBytes(disks.backend, [...chain, top], model);
    });

    it('are not overlays when they are not what their writer says, or were never finished', async () => {
      const { chain, model, home } = await disks.build([write(0, mib, 1)], []);
      const overlay = newLayer(home);
      const seal = (claimed = written, below = chain) => disks.backend.sealLayer(overlay, below, claimed);
      await writeOverlay(await disks.backend.prepareLayer(overlay, chain), 7);
      await expect(seal(written.union(ExtentSet.of([[0, clusterBytes]])))).rejects.toMatchObject({ kind: 'mismatch' });
      await expect(seal(ExtentSet.empty)).rejects.toMatchObject({ kind: 'mismatch' });
      await expect(seal(written, chain.slice(0, 1))).rejects.toMatchObject({ kind: 'mismatch' });
      const otherSize = { ...overlay, sizeBytes: 2 * diskBytes };
      await expect(disks.backend.sealLayer(otherSize, chain, written)).rejects.toMatchObject({ kind: 'mismatch' });
      // Data, and no header yet.
      await writeFile((await disks.backend.prepareLayer(overlay, chain)).path, Buffer.alloc(4 * clusterBytes));
      await expect(seal()).rejects.toMatchObject({ kind: 'mismatch' });
      await expectBytes(disks.backend, chain, model);
    });

    it('do not stand on what does not exist, nor raw on anything', async () => {
      const { chain, home } = await disks.build([]);
      await expect(disks.backend.prepareLayer(newLayer(home), [newLayer('nowhere')])).rejects.toMatchObject({ kind: 'missing-layer' });
      await expect(disks.backend.prepareLayer(newLayer(home, diskBytes, 'raw'), chain)).rejects.toMatchObject({ kind: 'mismatch' });
    });
  });
}
