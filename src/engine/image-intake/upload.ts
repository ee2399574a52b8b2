/**
 * Takes the bytes of an image from the network to a durable file.
 *
 * The event loop only copies bytes into a ring of shared blocks; one worker thread per upload hashes and writes them. A block is
 * filled again only when the thread gave it back, so a slow disk slows the sender down and memory stays constant. A few uploads
 * run at once, more wait for their turn with their bytes still at the sender.
 *
 * What can go wrong half-way: the sender goes away or sends another number of bytes than it announced, the disk fills up, the
 * caller loses interest. Each ends with both files removed and a rejected promise. When the process dies, the files stay; they carry
 * the name of this one attempt, so nobody mistakes them for anything, and start-up sweeps them.
 */
import { rm } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { crashPoint } from '../../lib/crash-points.ts';
import { badRequest } from '../../lib/errors.ts';
import { imageTooLarge, isDiskFull, storageFull } from './refusals.ts';
import { createTurnstile } from './turnstile.ts';
import { blockBytes, blockCount, type FromWorker, type ToWorker, type UploadOrder } from './upload-messages.ts';

export interface UploadTarget {
  /** Must not exist; its folder must. */
  readonly path: string;
  /** Gets the encoded set of the ranges that hold data. */
  readonly extentsPath: string;
}

export interface UploadOptions {
  /** What the sender announced, when it did. */
  readonly expectedBytes: number | undefined;
  readonly sizeBytesMax: number;
  readonly signal: AbortSignal;
}

export interface ReceivedFile {
  readonly sizeBytes: number;
  readonly md5: string;
  readonly sha512: string;
}

/** Resolves when both files, and their names, are durable. Rejects with a `ProductError` for what is the sender's or the disk's doing. */
type Receive = (target: UploadTarget, body: AsyncIterable<Uint8Array>, options: UploadOptions) => Promise<ReceivedFile>;

export interface Uploads {
  readonly receive: Receive;
  /** For bytes that are to be asked for only when they can be taken: `work` gets its turn before it has them. */
  inTurn<T>(work: (receive: Receive) => Promise<T>, signal: AbortSignal): Promise<T>;
}

/** What an upload has taken from its sender may be so much more than what its file holds. */
export const unwrittenBytesMax = blockBytes * blockCount;

/** More than the cores of a small machine, because uploads mostly wait for their sender. */
const concurrentUploadsMax = 4;

/** The bytes lie outside of the heap of a thread. */
const threadHeap = { maxYoungGenerationSizeMb: 4 };

export function createUploads(concurrencyMax = concurrentUploadsMax): Uploads {
  const turnstile = createTurnstile(concurrencyMax);
  return {
    receive: (target, body, options) => turnstile.pass(() => receiveFile(target, body, options), options.signal),
    inTurn: (work, signal) => turnstile.pass(() => work(receiveFile), signal),
  };
}

async function receiveFile(target: UploadTarget, body: AsyncIterable<Uint8Array>, options: UploadOptions): Promise<ReceivedFile> {
  const thread = startThread(target);
  try {
    await copyInto(thread, body, options);
    options.signal.throwIfAborted();
    const received = await thread.finish();
    crashPoint('image-intake:upload:durable');
    return received;
  } catch (error) {
    await thread.abort();
    throw isDiskFull(error) ? storageFull(error) : error;
  } finally {
    await thread.close();
  }
}

async function copyInto(thread: UploadThread, body: AsyncIterable<Uint8Array>, options: UploadOptions): Promise<void> {
  let receivedBytes = 0;
  for await (const chunk of abortable(body, options.signal)) {
    receivedBytes += chunk.length;
    if (receivedBytes > options.sizeBytesMax) throw imageTooLarge(options.sizeBytesMax);
    await thread.write(chunk);
  }
  const { expectedBytes } = options;
  if (expectedBytes !== undefined && receivedBytes !== expectedBytes) {
    throw badRequest(`The size of the data, ${receivedBytes} bytes, does not match the announced size of ${expectedBytes} bytes.`);
  }
}

/**
 * The same items; ends with the signal's reason even while the sender says nothing. Each wait has a promise of its own: one that all of
 * them raced against would remember every piece of the upload.
 */
async function* abortable<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  let giveUp: (reason: unknown) => void = () => {};
  const onAbort = (): void => giveUp(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        giveUp = reject;
        iterator.next().then(resolve, reject);
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

interface UploadThread {
  write(chunk: Uint8Array): Promise<void>;
  finish(): Promise<ReceivedFile>;
  /** Resolves when the files are gone. */
  abort(): Promise<void>;
  close(): Promise<void>;
}

function startThread(target: UploadTarget): UploadThread {
  const ring = new SharedArrayBuffer(blockBytes * blockCount);
  const order: UploadOrder = { ...target, ring };
  const worker = new Worker(new URL('./upload-worker.ts', import.meta.url), { workerData: order, resourceLimits: threadHeap });
  const answers = listen(worker);
  const free = Array.from({ length: blockCount }, (_, index) => index);
  let current: { readonly index: number; filledBytes: number } | undefined;

  const post = (message: ToWorker): void => worker.postMessage(message);

  async function freeBlock(): Promise<number> {
    for (;;) {
      const index = free.pop();
      if (index !== undefined) return index;
      const answer = await answers.next();
      if (answer.kind !== 'free') throw unexpected(answer);
      free.push(answer.index);
    }
  }

  function flush(): void {
    if (current === undefined) return;
    post({ kind: 'block', index: current.index, lengthBytes: current.filledBytes });
    current = undefined;
  }

  async function firstOther(): Promise<Exclude<FromWorker, { kind: 'free' }>> {
    for (;;) {
      const answer = await answers.next();
      if (answer.kind !== 'free') return answer;
    }
  }

  return {
    async write(chunk) {
      for (let copied = 0; copied < chunk.length; ) {
        current ??= { index: await freeBlock(), filledBytes: 0 };
        const piece = chunk.subarray(copied, copied + blockBytes - current.filledBytes);
        new Uint8Array(ring, current.index * blockBytes + current.filledBytes, piece.length).set(piece);
        current.filledBytes += piece.length;
        copied += piece.length;
        if (current.filledBytes === blockBytes) flush();
      }
    },
    async finish() {
      flush();
      post({ kind: 'finish' });
      const answer = await firstOther();
      if (answer.kind !== 'done') throw unexpected(answer);
      const { sizeBytes, md5, sha512 } = answer;
      return { sizeBytes, md5, sha512 };
    },
    async abort() {
      post({ kind: 'abort' });
      // A thread that failed, or broke, has removed the files already, or never will.
      await firstOther().catch(() => undefined);
      await Promise.all([target.path, target.extentsPath].map((path) => rm(path, { force: true }))).catch(() => undefined);
    },
    close: async () => void (await worker.terminate()),
  };
}

function unexpected(answer: FromWorker): Error {
  if (answer.kind === 'failed') return Object.assign(new Error(answer.message), { code: answer.code });
  return new Error(`the upload thread answered ${answer.kind} out of turn`);
}

/** Queues what a worker says, so that it can be awaited one by one. A worker that ends unasked is an error for whoever waits. */
function listen(worker: Worker): { next(): Promise<FromWorker> } {
  const arrived: FromWorker[] = [];
  let broken: Error | undefined;
  let wake: (() => void) | undefined;
  const signal = (): void => {
    wake?.();
    wake = undefined;
  };
  worker.on('message', (message: FromWorker) => {
    arrived.push(message);
    signal();
  });
  worker.on('error', (error) => {
    broken = error instanceof Error ? error : new Error(String(error));
    signal();
  });
  worker.on('exit', () => {
    broken ??= new Error('the upload thread has ended');
    signal();
  });
  return {
    async next() {
      for (;;) {
        const message = arrived.shift();
        if (message !== undefined) return message;
        if (broken !== undefined) throw broken;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
