import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LayeredFilesUnderTest, makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import { createSpaceAccount } from '../../space/space-account.ts';
import type { Layer } from '../contract.ts';
import { discard, diskBytes, mib, newLayer, notAborted, type Write, write, writeOffline, zero } from '../contract-suite/test-disks.ts';
import { growthByMerge } from './merge-space.ts';

describe('the space for a merge', () => {
  let under: LayeredFilesUnderTest;
  beforeAll(async () => {
    under = await makeLayeredFiles();
  });
  afterAll(() => under.dispose());

  const fileOf = (layer: Layer) => ({ path: join(under.dir, 'layers', layer.home, `${layer.id}.${layer.format}`), format: layer.format });
  const bytesOf = async (layer: Layer): Promise<number> => (await stat(fileOf(layer).path)).blocks * 512;

  async function stack(below: readonly Write[], above: readonly Write[]): Promise<[older: Layer, younger: Layer]> {
    const home = randomUUID();
    const [older, younger] = [newLayer(home, diskBytes), newLayer(home, diskBytes)];
    await under.backend.createLayer(older, []);
    await writeOffline(under.backend, [older], below);
    await under.backend.createLayer(younger, [older]);
    await writeOffline(under.backend, [older, younger], above);
    return [older, younger];
  }

  /** The same files, on a disk that says it has so much left. */
  const withFree = (freeBytes: number, keptBytes: number) =>
    under.another({ space: createSpaceAccount({ keptBytes, ask: async () => ({ capacityBytes: 2 ** 40, freeBytes }) }) });

  it('is none when all that the younger layer holds is written over', async () => {
    const [older, younger] = await stack([write(0, 4 * mib, 1)], [write(mib, mib, 2), zero(3 * mib, mib), discard(2 * mib, mib)]);
    const full = withFree(0, 2 ** 30);
    const room = await full.reserveMerge(older, younger);
    await full.merge(older, younger, undefined, notAborted());
    room.release();
    await full.removeLayer(younger);
  });

  it('may come out of what is kept back, but not out of its end', async () => {
    const [older, younger] = await stack([write(0, mib, 1)], [write(4 * mib, 2 * mib, 2)]);
    const keptBytes = 2 ** 30;
    await expect(withFree(66 * mib, keptBytes).createLayer(newLayer(randomUUID()), [])).rejects.toThrow('0 MiB are free');
    (await withFree(68 * mib, keptBytes).reserveMerge(older, younger)).release();
    await expect(withFree(65 * mib, keptBytes).reserveMerge(older, younger)).rejects.toThrow(
      /^Not enough space for a merge: 4 MiB are needed, 1 MiB are free beside the 64 MiB kept back\.$/,
    );
  });

  it('is never less than what the merge takes', async () => {
    const place = fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 1, max: 40 }));
    const one = fc.tuple(place, fc.constantFrom('write', 'zero', 'discard')).map(([[at, length], kind]): Write => {
      const range = { at: at * 32_768, length: Math.min(length * 4096, diskBytes - at * 32_768) };
      return kind === 'write' ? { kind, ...range, pattern: 7 } : { kind: kind === 'zero' ? 'zero' : 'discard', ...range };
    });
    const some = fc.array(one, { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(some, some, async (below, above) => {
        const [older, younger] = await stack(below, above);
        const [before, growth] = [await bytesOf(older), await growthByMerge(fileOf(older), fileOf(younger))];
        await under.backend.merge(older, younger, undefined, notAborted());
        expect((await bytesOf(older)) - before).toBeLessThanOrEqual(growth);
        for (const layer of [younger, older]) await under.backend.removeLayer(layer);
      }),
      { numRuns: 12 },
    );
  });
});
