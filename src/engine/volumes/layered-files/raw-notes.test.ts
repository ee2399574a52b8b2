import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type LayeredFilesUnderTest, makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import { armCrashPoint, disarmCrashPoints } from '../../../lib/crash-points.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import type { Layer } from '../contract.ts';
import { diskBytes, expectBytes, mib, newLayer, readDisk, write, writeOffline } from '../contract-suite/test-disks.ts';

const chunk = 65_536;
const quiet = { signal: new AbortController().signal };

describe('the notes of a raw base', () => {
  let under: LayeredFilesUnderTest;
  beforeAll(async () => {
    under = await makeLayeredFiles();
  });
  afterEach(() => disarmCrashPoints());
  afterAll(() => under.dispose());

  const allocatedOf = async (layer: Layer) => [...(await readDisk(under.backend, [layer])).allocated.ranges()];

  async function baseAndOverlay() {
    const { backend } = under;
    const base = newLayer(randomUUID(), diskBytes, 'raw');
    const bytes = Buffer.alloc(diskBytes);
    bytes.fill(9, 0, mib);
    writeFileSync((await backend.prepareLayer(base, [])).path, bytes);
    await backend.sealLayer(base, [], ExtentSet.of([[0, mib]]));
    const younger = newLayer(base.home);
    await backend.createLayer(younger, [base]);
    await writeOffline(backend, [base, younger], [write(3 * mib, chunk, 4)]);
    bytes.fill(4, 3 * mib, 3 * mib + chunk);
    const child = newLayer(base.home);
    await backend.createLayer(child, [base, younger]);
    return { base, younger, child, bytes };
  }

  it.each(['merge:commit:before', 'merge:commit:after', 'merge:rebase:after'])(
    'outlive a merge that was interrupted at %s and repeated',
    async (point) => {
      const { base, younger, child, bytes } = await baseAndOverlay();
      armCrashPoint(point, 'fail');
      await expect(under.backend.merge(base, younger, child, quiet)).rejects.toThrow(point);
      await under.backend.merge(base, younger, child, quiet);
      expect(await allocatedOf(base)).toEqual([
        [0, mib],
        [3 * mib, 3 * mib + chunk],
      ]);
      await expectBytes(under.backend, [base, child], bytes);
    },
  );

  it('do not count any more when somebody else wrote to the base', async () => {
    const { base, bytes } = await baseAndOverlay();
    expect(await allocatedOf(base)).toEqual([[0, mib]]);
    writeFileSync(join(under.dir, 'layers', base.home, `${base.id}.raw`), bytes);
    expect(await allocatedOf(base)).toEqual([[0, diskBytes]]);
  });

  it('can be given up', async () => {
    const { base } = await baseAndOverlay();
    await under.backend.forgetAllocation?.(base);
    expect(await allocatedOf(base)).toEqual([[0, diskBytes]]);
    await under.backend.forgetAllocation?.(base);
  });
});
