import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mustRun } from '../../test/support/clients.ts';
import type { Log } from '../lib/log.ts';
import { type Ballast, createBallast } from './ballast.ts';

const mib = 2 ** 20;
const sizeBytes = 16 * mib;
const said: string[] = [];
const note = (_fields: object, message: string): void => void said.push(message);
const log: Log = { debug: note, info: note, warn: note, error: note };

let folder: string;
let ballast: Ballast;

const inPlace = (bytes: number) => expect.poll(async () => (await ballast.figures()).presentBytes, { timeout: 10_000 }).toBe(bytes);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ballast-'));
  said.length = 0;
});
afterEach(async () => {
  await ballast?.stop();
  await mustRun('umount', ['-l', folder]).catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
});

const create = (bytes = sizeBytes): Ballast => {
  ballast = createBallast({ path: join(folder, 'ballast'), sizeBytes: bytes, log, lookEveryMs: 20 });
  return ballast;
};

describe('the ballast', () => {
  it('takes real space where there is plenty, and is not given up there', async () => {
    create().watch();
    await inPlace(sizeBytes);
    const { blocks, mode } = await stat(join(folder, 'ballast'));
    expect(blocks * 512).toBeGreaterThanOrEqual(sizeBytes);
    expect(mode & 0o777).toBe(0o600);
    expect(await ballast.giveUp('just so')).toBe(false);
  });

  it('is none when none is wanted', async () => {
    create(0).watch();
    expect(await ballast.giveUp('just so')).toBe(false);
    expect(await ballast.figures()).toEqual({ sizeBytes: 0, presentBytes: 0 });
    await expect(stat(join(folder, 'ballast'))).rejects.toThrow('ENOENT');
  });

  it('is made anew where somebody made a hole of it', async () => {
    await writeFile(join(folder, 'ballast'), '');
    await truncate(join(folder, 'ballast'), sizeBytes);
    create().watch();
    await inPlace(sizeBytes);
  });
});

// Only root can make a file system that may be filled.
describe.runIf(process.getuid?.() === 0)('the ballast on a disk that becomes full', () => {
  const filler = () => join(folder, 'filler');

  beforeEach(() => mustRun('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', folder]));

  it('is given up by halves, and comes back when space is back', async () => {
    create().watch();
    await inPlace(sizeBytes);
    await writeFile(filler(), randomBytes(43 * mib));
    await inPlace(sizeBytes / 2);
    expect(said).toEqual(['the ballast is in place', 'the disk is full: ballast was given up to make some space']);
    await writeFile(filler(), randomBytes(8 * mib), { flag: 'a' });
    await inPlace(0);
    await truncate(filler(), 10 * mib);
    await inPlace(sizeBytes);
  });

  it('gives one half at a time to who asks', async () => {
    create().watch();
    await inPlace(sizeBytes);
    await ballast.stop();
    await mustRun('dd', ['if=/dev/zero', `of=${filler()}`, 'bs=4k']).catch(() => undefined);
    expect(await ballast.giveUp('PostgreSQL does not start')).toBe(true);
    expect(await ballast.figures()).toEqual({ sizeBytes, presentBytes: sizeBytes / 2 });
    expect(await ballast.giveUp('there is enough now')).toBe(false);
    await mustRun('dd', ['if=/dev/zero', `of=${filler()}2`, 'bs=4k']).catch(() => undefined);
    expect(await ballast.giveUp('PostgreSQL still does not start')).toBe(true);
    await mustRun('dd', ['if=/dev/zero', `of=${filler()}3`, 'bs=4k']).catch(() => undefined);
    expect(await ballast.giveUp('nothing is left')).toBe(false);
    expect((await ballast.figures()).presentBytes).toBe(0);
  });
});
