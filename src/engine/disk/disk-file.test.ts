import { randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DiskFile, windowBytes } from './disk-file.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'disk-file-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const openFile = (path: string): DiskFile => new DiskFile(path, openSync(path, 'r'));

describe.each(['buffered', 'direct'])('a %s file', (mode) => {
  const open = (path: string): DiskFile => {
    const file = openFile(path);
    if (mode === 'direct') file.goDirect();
    return file;
  };

  it('gives any range, also over the last block that is not whole', () => {
    const path = join(dir, mode);
    const bytes = randomBytes(3 * windowBytes + 1234);
    writeFileSync(path, bytes);
    const file = open(path);
    const ranges = [
      [0, bytes.length],
      [1, 1],
      [511, 2],
      [4095, 4097],
      [windowBytes - 1, windowBytes + 2],
      [bytes.length - 1, 1],
      [bytes.length - 5000, 5000],
    ] as const;
    for (const [position, length] of ranges) {
      const target = Buffer.alloc(length + 20, 0xee);
      file.readSync(target, 10, length, position);
      expect(target.subarray(10, 10 + length).equals(bytes.subarray(position, position + length))).toBe(true);
      expect(target.subarray(0, 10).equals(target.subarray(10 + length))).toBe(true);
    }
    file.close();
  });

  it('throws where it ends, and still gives what is there', () => {
    const path = join(dir, `short-${mode}`);
    writeFileSync(path, Buffer.alloc(20_000, 7));
    const file = open(path);
    truncateSync(path, 5000);
    expect(() => file.readSync(Buffer.alloc(8192), 0, 8192, 0)).toThrow(/ended at 5000, inside its data/);
    const target = Buffer.alloc(1000);
    file.readSync(target, 0, 1000, 4000);
    expect(target.equals(Buffer.alloc(1000, 7))).toBe(true);
    file.close();
  });

  it('is the file that was opened, whatever became of its name', () => {
    const path = join(dir, `renamed-${mode}`);
    writeFileSync(path, Buffer.alloc(8192, 1));
    const file = openFile(path);
    rmSync(path);
    writeFileSync(path, Buffer.alloc(8192, 2));
    if (mode === 'direct') file.goDirect();
    const target = Buffer.alloc(8192);
    file.readSync(target, 0, 8192, 0);
    expect(target.equals(Buffer.alloc(8192, 1))).toBe(true);
    file.close();
  });
});

it('stays with the page cache where a file system has no other way', () => {
  const file = openFile('/proc/version');
  file.goDirect();
  expect(file.isDirect).toBe(false);
  const target = Buffer.alloc(5);
  file.readSync(target, 0, 5, 0);
  expect(target.toString()).toBe('Linux');
  file.close();
});
