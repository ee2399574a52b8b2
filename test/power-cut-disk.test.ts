/** The disk that the power-cut tests stand on: what it keeps and what it loses is what they prove things with. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { syncFile, syncFolder } from '../src/lib/durable-files.ts';
import { canCutPower, type PowerCutDisk, startPowerCutDisk } from './support/power-cut/power-cut-disk.ts';

describe.skipIf(!canCutPower())('a disk whose power can be cut', () => {
  let parent: string;
  let disk: PowerCutDisk;
  beforeEach(async () => {
    parent = mkdtempSync(join(tmpdir(), 'sp-power-'));
    disk = await startPowerCutDisk(join(parent, 'disk'));
  });
  afterEach(async () => {
    await disk.stop();
    rmSync(parent, { recursive: true });
  });
  const path = (name: string): string => join(disk.folder, name);
  const cut = async (seed: number): Promise<void> => {
    await disk.switchOff();
    await disk.switchOn(seed);
  };
  /** The texts of a file after cuts of many seeds; undefined: it is not there. */
  async function outcomes(name: string): Promise<Set<string | undefined>> {
    const found = new Set<string | undefined>();
    const count = await disk.length();
    for (let seed = 0; seed < 40; seed += 1) {
      const target = join(parent, `out-${seed}`);
      await disk.writeOut(count, seed, target);
      found.add((await readdir(target)).includes(name) ? readFileSync(join(target, name), 'utf8') : undefined);
      rmSync(target, { recursive: true });
    }
    return found;
  }

  it('is a file system like any other', async () => {
    await mkdir(path('a/b'), { recursive: true });
    await writeFile(path('a/b/c'), Buffer.alloc(3_000_000, 7));
    await rename(path('a/b/c'), path('d'));
    await link(path('d'), path('e'));
    await rm(path('d'));
    expect((await readFile(path('e'))).equals(Buffer.alloc(3_000_000, 7))).toBe(true);
    const file = await open(path('e'), 'r+');
    await file.truncate(5_000_000);
    await file.write(Buffer.from('x'), 0, 1, 4_999_999);
    await file.close();
    expect((await readFile(path('e'))).indexOf('x')).toBe(4_999_999);
    expect(await readdir(disk.folder)).toEqual(['a', 'e']);
    await expect(rm(path('a'))).rejects.toThrow();
    await rm(path('a'), { recursive: true });
    const run = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: 'utf8' });
    run('qemu-img', 'create', '-q', '-f', 'qcow2', path('q'), '64M');
    run('qemu-io', '-c', 'write -P 5 1M 1M', '-c', 'write -z 1M 64k', '-c', 'discard 2M 1M', '-c', 'flush', path('q'));
    run('qemu-img', 'check', '-q', path('q'));
    expect(run('qemu-io', '-r', '-c', 'read -P 5 1152k 896k', path('q'))).not.toMatch(/failed/);
  });

  it('keeps what was synced, whatever the seed', async () => {
    await writeFile(path('kept'), 'whole');
    await syncFile(path('kept'));
    await syncFolder(disk.folder);
    expect(await outcomes('kept')).toEqual(new Set(['whole']));
    await cut(3);
    expect(await readFile(path('kept'), 'utf8')).toBe('whole');
  });

  it('may lose a name whose folder was not synced, and bytes that were not', async () => {
    await writeFile(path('file'), 'bytes');
    await syncFile(path('file'));
    expect(await outcomes('file')).toEqual(new Set([undefined, 'bytes']));
    await syncFolder(disk.folder);
    await writeFile(path('file'), 'other', { flag: 'r+' });
    expect(await outcomes('file')).toEqual(new Set(['bytes', 'other']));
  });

  it('finds a rename that was made before its bytes were safe', async () => {
    await writeFile(path('old'), 'before');
    await syncFile(path('old'));
    await syncFolder(disk.folder);
    await writeFile(path('new'), 'after');
    await rename(path('new'), path('old'));
    await syncFolder(disk.folder);
    expect([...(await outcomes('old'))].some((text) => text !== 'before' && text !== 'after')).toBe(true);
  });

  it('may keep a later write and lose an earlier one to another page', async () => {
    const file = await open(path('pages'), 'w');
    await file.write(Buffer.alloc(8192, 'a'), 0, 8192, 0);
    await file.sync();
    await syncFolder(disk.folder);
    await file.write('1', 0);
    await file.write('2', 4096);
    await file.close();
    const seen = [...(await outcomes('pages'))].map((text) => `${text?.[0]}${text?.[4096]}`);
    expect(new Set(seen)).toEqual(new Set(['aa', '1a', 'a2', '12']));
  });

  it('fails everything while the power is off', async () => {
    await disk.switchOff();
    await expect(writeFile(path('x'), '1')).rejects.toMatchObject({ code: 'EIO' });
    await disk.switchOn(1);
    await writeFile(path('x'), '1');
  });
});
