import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ExtentSet } from '../disk/extent-set.ts';
import { createUploads, type UploadOptions, type UploadTarget } from './upload.ts';

const kib = 1024;
const mib = 1024 * kib;

let folder: string;
let target: UploadTarget;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillpoint-upload-'));
  target = { path: join(folder, 'upload'), extentsPath: join(folder, 'upload.extents') };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const options = (changes: Partial<UploadOptions> = {}): UploadOptions => ({
  expectedBytes: undefined,
  sizeBytesMax: 2 ** 40,
  signal: new AbortController().signal,
  ...changes,
});

async function* inPieces(data: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += pieceBytes) yield data.subarray(at, at + pieceBytes);
}

const toolSum = (tool: string, path: string): string => execFileSync(tool, [path]).toString().split(' ')[0] ?? '';
const extents = (): number[][] => [...ExtentSet.decode(readFileSync(target.extentsPath)).ranges()].map((range) => [...range]);

test('a file arrives byte for byte, with the sums that md5sum and sha512sum print', async () => {
  const data = randomBytes(3 * mib + 12_345);
  const received = await createUploads().receive(target, inPieces(data, 70_001), options({ expectedBytes: data.length }));
  expect(readFileSync(target.path).equals(data)).toBe(true);
  expect(received).toEqual({
    sizeBytes: data.length,
    md5: toolSum('md5sum', target.path),
    sha512: toolSum('sha512sum', target.path),
  });
  expect(extents()).toEqual([[0, data.length]]);
});

test('zeroes take no space, and the extents say where data is', async () => {
  const data = Buffer.alloc(20 * mib);
  data.write('x', 5 * mib + 100);
  data.write('y', 5 * mib + 64 * kib);
  data.write('z', 12 * mib);
  const received = await createUploads().receive(target, inPieces(data, 1000 * kib), options());
  expect(received.sizeBytes).toBe(data.length);
  expect(received.md5).toBe(createHash('md5').update(data).digest('hex'));
  expect(extents()).toEqual([
    [5 * mib, 5 * mib + 128 * kib],
    [12 * mib, 12 * mib + 64 * kib],
  ]);
  expect(statSync(target.path).size).toBe(data.length);
  expect(statSync(target.path).blocks * 512).toBeLessThan(mib);
  expect(readFileSync(target.path).equals(data)).toBe(true);
});

test('a file that ends in zeroes keeps its length, and an empty one is a file', async () => {
  const uploads = createUploads();
  await uploads.receive(target, inPieces(Buffer.alloc(100_001), 64 * kib), options());
  expect(statSync(target.path).size).toBe(100_001);
  const empty = { path: join(folder, 'empty'), extentsPath: join(folder, 'empty.extents') };
  const received = await uploads.receive(empty, inPieces(Buffer.alloc(0), 1), options({ expectedBytes: 0 }));
  expect(received).toMatchObject({ sizeBytes: 0, md5: 'd41d8cd98f00b204e9800998ecf8427e' });
  expect(statSync(empty.path).size).toBe(0);
});

test('a sender that goes away leaves nothing behind', async () => {
  async function* broken(): AsyncGenerator<Buffer> {
    yield randomBytes(3 * mib);
    throw new Error('aborted');
  }
  await expect(createUploads().receive(target, broken(), options())).rejects.toThrow('aborted');
  expect(readdirSync(folder)).toEqual([]);
});

test('fewer or more bytes than announced are refused', async () => {
  const uploads = createUploads();
  const data = randomBytes(100);
  await expect(uploads.receive(target, inPieces(data, 10), options({ expectedBytes: 101 }))).rejects.toMatchObject({ kind: 'bad-request' });
  await expect(uploads.receive(target, inPieces(data, 10), options({ expectedBytes: 99 }))).rejects.toMatchObject({ kind: 'bad-request' });
  expect(readdirSync(folder)).toEqual([]);
});

test('an upload beyond the limit is cut off at the limit', async () => {
  let sentBytes = 0;
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) {
      sentBytes += mib;
      yield Buffer.alloc(mib, 1);
    }
  }
  await expect(createUploads().receive(target, endless(), options({ sizeBytesMax: 5 * mib }))).rejects.toMatchObject({ kind: 'too-large' });
  expect(sentBytes).toBeLessThanOrEqual(6 * mib);
  expect(readdirSync(folder)).toEqual([]);
});

test('a full disk is told as such, and nothing stays', async () => {
  // The limit on the size of a file stands in for a full file system: the same calls fail, with EFBIG for ENOSPC.
  const script = `
    import { createUploads } from ${JSON.stringify(join(import.meta.dirname, 'upload.ts'))};
    async function* body() { for (let i = 0; i < 8; i++) yield Buffer.alloc(1 << 20, 1); }
    const target = ${JSON.stringify(target)};
    const options = { expectedBytes: undefined, sizeBytesMax: 2 ** 40, signal: new AbortController().signal };
    process.on('SIGXFSZ', () => {});
    await createUploads().receive(target, body(), options).catch((error) => console.log(error.kind, error.message));
  `;
  const scriptPath = join(folder, 'script.mts');
  writeFileSync(scriptPath, script);
  const said = execFileSync('prlimit', ['--fsize=3000000', process.execPath, scriptPath]).toString();
  rmSync(scriptPath);
  expect(said).toMatch(/^too-large Image storage media is full: /);
  expect(readdirSync(folder)).toEqual([]);
});

test('an abort is heard while the sender says nothing', async () => {
  const controller = new AbortController();
  async function* silent(): AsyncGenerator<Buffer> {
    yield randomBytes(mib);
    await new Promise(() => {});
  }
  const receiving = createUploads().receive(target, silent(), options({ signal: controller.signal }));
  setTimeout(() => controller.abort(new Error('not wanted any more')), 50);
  await expect(receiving).rejects.toThrow('not wanted any more');
  expect(readdirSync(folder)).toEqual([]);
});

test('a path that is taken is never written over', async () => {
  const uploads = createUploads();
  await uploads.receive(target, inPieces(Buffer.from('first'), 5), options());
  await expect(uploads.receive(target, inPieces(Buffer.from('other'), 5), options())).rejects.toThrow('EEXIST');
});

test('only so many uploads run at once, and the rest are not read meanwhile', async () => {
  const uploads = createUploads(1);
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  let secondWasRead = false;
  async function* first(): AsyncGenerator<Buffer> {
    yield Buffer.from('a');
    await held;
  }
  async function* second(): AsyncGenerator<Buffer> {
    secondWasRead = true;
    yield Buffer.from('b');
  }
  const other = { path: join(folder, 'other'), extentsPath: join(folder, 'other.extents') };
  const both = [uploads.receive(target, first(), options()), uploads.receive(other, second(), options())];
  await sleep(100);
  expect(secondWasRead).toBe(false);
  release();
  await Promise.all(both);
  expect(existsSync(other.path)).toBe(true);
});

// Bounds of time: other work on the machine only ever makes this slower.
test('300 MiB go through without holding up the event loop', { retry: 2, timeout: 60_000 }, async () => {
  const block = randomBytes(mib);
  async function* large(): AsyncGenerator<Buffer> {
    for (let i = 0; i < 300; i += 1) yield block;
  }
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const received = await createUploads().receive(target, large(), options());
  delay.disable();
  expect(received.sizeBytes).toBe(300 * mib);
  // The histogram counts its own 5 ms between samples.
  expect(delay.percentile(99) / 1e6).toBeLessThan(50);
});

test('what is only asked for in its turn is not asked for while others send', async () => {
  const uploads = createUploads(1);
  const sender = Promise.withResolvers<void>();
  async function* waiting(): AsyncGenerator<Buffer> {
    await sender.promise;
    order.push('sent');
    yield Buffer.from('first');
  }
  const order: string[] = [];
  const first = uploads.receive(target, waiting(), options());
  const second = { path: join(folder, 'second'), extentsPath: join(folder, 'second.extents') };
  const turn = uploads.inTurn((receive) => {
    order.push('asked');
    return receive(second, inPieces(Buffer.from('second'), 3), options());
  }, new AbortController().signal);
  sender.resolve();
  await first;
  expect((await turn).sizeBytes).toBe(6);
  expect(order).toEqual(['sent', 'asked']);
});
