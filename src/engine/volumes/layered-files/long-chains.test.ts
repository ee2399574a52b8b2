import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type LayeredFilesUnderTest, makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import type { Layer } from '../contract.ts';
import { newLayer } from '../contract-suite/test-disks.ts';

/** Decision 0018: a volume may have hundreds of snapshots. */

let under: LayeredFilesUnderTest;
beforeAll(async () => {
  under = await makeLayeredFiles();
});
afterAll(() => under.dispose());

const tib = 2 ** 40;
const measured = 15;

/** Milliseconds of live snapshots above a chain of so many layers: the median. */
async function snapshotMsAbove(count: number): Promise<number> {
  const { backend } = under;
  const home = randomUUID();
  const chain: Layer[] = [];
  const grow = async (): Promise<Layer> => {
    const layer = newLayer(home, tib);
    await backend.createLayer(layer, chain);
    return layer;
  };
  while (chain.length < count) chain.push(await grow());
  const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
  try {
    const times: number[] = [];
    while (times.length < measured) {
      const overlay = await grow();
      const startedAt = performance.now();
      await backend.snapshotExport(target, chain, overlay);
      times.push(performance.now() - startedAt);
      chain.push(overlay);
    }
    return times.sort((a, b) => a - b)[Math.floor(measured / 2)] as number;
  } finally {
    await backend.closeExport(target);
  }
}

// Side by side, because of what else runs on the machine. With names that spell out the chain it is some 16 times.
it('three hundred layers of 1 TiB open, and a snapshot above them takes little longer than above three', { retry: 2 }, async () => {
  const short = await snapshotMsAbove(3);
  const long = await snapshotMsAbove(300);
  expect(long, `${short.toFixed(1)} ms above 3 layers`).toBeLessThan(8 * short);
});
