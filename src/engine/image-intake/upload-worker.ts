/**
 * The disk half of an upload: hashes each block, writes what is not zero, and makes the file durable at the end.
 *
 * Everything here is synchronous, because the thread does nothing else and Node's asynchronous file calls cost a second thread
 * each. On any failure the thread removes what it wrote before it says so: once the other half hears, nothing is left.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, fsyncSync, ftruncateSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { ExtentSet } from '../disk/extent-set.ts';
import { blockBytes, type FromWorker, grainBytes, type ToWorker, type UploadOrder } from './upload-messages.ts';

const order = workerData as UploadOrder;
const port = parentPort;
if (port === null) throw new Error('this file is the body of a worker thread');

const zeroes = Buffer.alloc(grainBytes);
const md5 = createHash('md5');
const sha512 = createHash('sha512');
const extents = ExtentSet.builder();
let file: number | undefined;
let sizeBytes = 0;

function reply(message: FromWorker): void {
  port?.postMessage(message);
}

function writeAll(descriptor: number, data: Buffer, offset: number): void {
  for (let written = 0; written < data.length; ) {
    written += writeSync(descriptor, data, written, data.length - written, offset + written);
  }
}

const isZero = (data: Buffer): boolean => data.compare(zeroes, 0, data.length) === 0;

/** Writes the runs of grains that hold something, each with one call. */
function writeData(descriptor: number, block: Buffer): void {
  let runStart: number | undefined;
  const endRun = (end: number): void => {
    if (runStart === undefined) return;
    writeAll(descriptor, block.subarray(runStart, end), sizeBytes + runStart);
    extents.add(sizeBytes + runStart, sizeBytes + end);
    runStart = undefined;
  };
  for (let start = 0; start < block.length; start += grainBytes) {
    if (isZero(block.subarray(start, start + grainBytes))) endRun(start);
    else runStart ??= start;
  }
  endRun(block.length);
}

function receive(index: number, lengthBytes: number): void {
  if (file === undefined) throw new Error('a block after the end of the upload');
  const block = Buffer.from(order.ring, index * blockBytes, lengthBytes);
  md5.update(block);
  sha512.update(block);
  writeData(file, block);
  sizeBytes += lengthBytes;
  reply({ kind: 'free', index });
}

function syncPath(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** The extents first: a data file without them would be taken for a finished upload. */
function finish(): void {
  if (file === undefined) throw new Error('an upload that ended twice');
  ftruncateSync(file, sizeBytes);
  writeFileSync(order.extentsPath, extents.build().encode(), { mode: 0o600 });
  syncPath(order.extentsPath);
  fsyncSync(file);
  closeSync(file);
  file = undefined;
  syncPath(dirname(order.path));
  reply({ kind: 'done', sizeBytes, md5: md5.digest('hex'), sha512: sha512.digest('hex') });
}

function discard(): void {
  if (file !== undefined) closeSync(file);
  file = undefined;
  rmSync(order.path, { force: true });
  rmSync(order.extentsPath, { force: true });
}

function fail(error: unknown): void {
  const { code, message } = error as NodeJS.ErrnoException;
  try {
    discard();
  } catch {
    // The first failure is the one to tell; start-up sweeps what could not be removed.
  }
  reply({ kind: 'failed', code, message });
  port?.close();
}

function obey(message: ToWorker): void {
  if (message.kind === 'block') {
    receive(message.index, message.lengthBytes);
    return;
  }
  if (message.kind === 'finish') finish();
  else {
    discard();
    reply({ kind: 'aborted' });
  }
  port?.close();
}

port.on('message', (message: ToWorker) => {
  try {
    obey(message);
  } catch (error) {
    fail(error);
  }
});

try {
  file = openSync(order.path, 'wx', 0o600);
} catch (error) {
  fail(error);
}
