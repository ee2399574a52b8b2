import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createPaceKeeper } from './merge-pace.ts';

test('a merge goes slowly for a second after each write to the disk', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillpoint-pace-'));
  try {
    const top = join(folder, 'top');
    await writeFile(top, '');
    let nowMs = 5_000;
    const paceOf = createPaceKeeper(top, { whileWritten: 1, whileIdle: 2 }, () => nowMs);
    const paceAt = async (atMs: number): Promise<number> => {
      nowMs = atMs;
      return await paceOf();
    };
    expect(await paceAt(5_000)).toBe(1);
    expect(await paceAt(5_999)).toBe(1);
    expect(await paceAt(6_000)).toBe(2);
    await utimes(top, 1, 1);
    expect(await paceAt(7_000)).toBe(1);
    expect(await paceAt(7_999)).toBe(1);
    expect(await paceAt(8_000)).toBe(2);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
