import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createConfinement } from '../confinement/run-confined.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import { convertToRaw } from './convert.ts';
import { inspectImage } from './inspect.ts';

const mib = 1024 * 1024;
let folder: string;
let image: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillpoint-inspect-'));
  image = join(folder, 'image.qcow2');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const tool = (program: string, ...args: string[]): string => execFileSync(program, args, { cwd: folder, stdio: 'pipe' }).toString();
const create = (size: string, ...args: string[]): string => tool('qemu-img', 'create', '-q', '-f', 'qcow2', ...args, image, size);
const fill = (...writes: string[]): string => tool('qemu-io', ...writes.flatMap((write) => ['-c', write]), image);
const inspect = (virtualBytesMax = 2 ** 44) => inspectImage(image, 'qcow2', { virtualBytesMax, signal: new AbortController().signal });

/** Writes a number into the header, big-endian. */
function poke(offset: number, value: bigint, bytes: 4 | 8): void {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(value);
  const file = openSync(image, 'r+');
  writeSync(file, number, 8 - bytes, bytes, offset);
  closeSync(file);
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason as Error & { kind: string },
  );
  expect(error?.kind).toBe('bad-request');
  return error?.message ?? '';
}

test.each([
  ['plain', []],
  ['of version 2', ['-o', 'compat=0.10']],
  ['with small clusters', ['-o', 'cluster_size=4096']],
  ['with extended L2 entries', ['-o', 'extended_l2=on']],
])('a qcow2 file %s passes, and its disk is measured', async (_name, args) => {
  create('64M', ...args);
  fill('write -P 1 0 64k', 'write -P 2 40M 128k', 'write -z 50M 1M');
  const { virtualBytes, dataBytesMax } = await inspect();
  expect(virtualBytes).toBe(64 * mib);
  expect(dataBytesMax).toBe(192 * 1024);
});

test('an inspection that takes too long is a refusal', async () => {
  create('64M');
  const inspection = inspectImage(image, 'qcow2', { virtualBytesMax: 2 ** 44, signal: new AbortController().signal, patienceMs: 1 });
  expect(await refusal(inspection)).toContain('takes too long');
});

test('compressed data counts by what it unpacks to', async () => {
  const raw = join(folder, 'disk.raw');
  writeFileSync(raw, Buffer.alloc(8 * mib, 'abc'));
  tool('qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, image);
  expect(statSync(image).size).toBeLessThan(mib);
  expect(await inspect()).toEqual({ virtualBytes: 8 * mib, dataBytesMax: 8 * mib });
});

test('a backing file is refused, and its name is not repeated', async () => {
  tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/hostname', '-F', 'raw', image, '1M');
  const message = await refusal(inspect());
  expect(message).toContain('has a backing file');
  expect(message).not.toContain('hostname');
});

test('an external data file is refused', async () => {
  create('1M', '-o', `data_file=${join(folder, 'data')}`);
  expect(await refusal(inspect())).toContain('keeps its data in another file');
});

test.each([1n, 2n])('encryption method %s is refused', async (method) => {
  create('1M');
  poke(32, method, 4);
  expect(await refusal(inspect())).toContain('encrypted');
});

test('internal snapshots are refused', async () => {
  create('1M');
  tool('qemu-img', 'snapshot', '-c', 'one', image);
  expect(await refusal(inspect())).toContain('internal snapshots');
});

test('a file that was cut short is refused wherever the cut is', async () => {
  create('64M');
  fill('write -P 1 0 8M');
  const whole = statSync(image).size;
  for (const length of [whole - 65_536, Math.floor(whole / 2), 200_000, 65_536, 60, 3]) {
    truncateSync(image, length);
    expect(await refusal(inspect())).toMatch(/^Image data is not acceptable: /);
  }
});

test('garbage and other formats are refused', async () => {
  for (const content of ['', 'QFI\xfb', 'KDMV and more', 'x'.repeat(100_000)]) {
    writeFileSync(image, content, 'latin1');
    await refusal(inspect());
  }
});

test('unknown features, absurd sizes and tables are refused before anything is allocated for them', async () => {
  create('64M');
  poke(72, 1n << 40n, 8);
  expect(await refusal(inspect())).toContain('unknown features');
  create('64M');
  poke(24, 1n << 62n, 8);
  await refusal(inspect());
  create('64M');
  poke(36, 0xffff_ffffn, 4);
  await refusal(inspect());
  create('2T');
  expect(await refusal(inspect(2 ** 40))).toContain('larger than');
});

test('a disk of 8 TiB with little in it is inspected at once', async () => {
  create('8T');
  fill('write -P 1 7T 64k');
  expect(await inspect()).toEqual({ virtualBytes: 8 * 2 ** 40, dataBytesMax: 65_536 });
});

test('conversion gives the same disk as a sparse raw file, and says where data is', async () => {
  create('64M');
  fill('write -P 1 0 64k', 'write -P 2 40M 128k', 'write -P 0 50M 1M');
  const target = join(folder, 'base.raw');
  const progress: number[] = [];
  const extents = await convertToRaw(createConfinement(), {
    source: { path: image, format: 'qcow2' },
    target,
    sizeBytes: 64 * mib,
    signal: new AbortController().signal,
    onProgress: (doneBytes) => progress.push(doneBytes),
  });
  expect(tool('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', image, target)).toContain('identical');
  const expected = ExtentSet.of([
    [0, 65_536],
    [40 * mib, 40 * mib + 131_072],
  ]);
  expect([...extents.ranges()]).toEqual([...expected.ranges()]);
  expect(progress.at(-1)).toBe(64 * mib);
});

test('conversion never follows a backing file, even when nobody inspected it', async () => {
  const secret = join(folder, 'secret.raw');
  writeFileSync(secret, Buffer.alloc(mib, 'secret'));
  tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', image, '1M');
  const target = join(folder, 'base.raw');
  const extents = await convertToRaw(createConfinement(), {
    source: { path: image, format: 'qcow2' },
    target,
    sizeBytes: mib,
    signal: new AbortController().signal,
  });
  expect(extents.isEmpty).toBe(true);
});

test('what the tool cannot read is the fault of the data', async () => {
  create('64M');
  const target = join(folder, 'base.raw');
  poke(0, 0n, 4);
  const conversion = {
    source: { path: image, format: 'qcow2' as const },
    target,
    sizeBytes: 64 * mib,
    signal: new AbortController().signal,
  };
  expect(await refusal(convertToRaw(createConfinement(), conversion))).toContain('cannot be read as qcow2');
});
