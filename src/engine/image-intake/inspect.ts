/**
 * Decides whether an uploaded file may be opened at all, before any program of QEMU's sees it.
 *
 * The format is what the owner declared, never a guess; bytes that look like another format are refused, because others may guess. The file is
 * read by our own parsers, all its tables included, in a thread of its own, because a large or hostile file takes time and memory. None of the
 * parsers ever opens a second file, so that nothing they find can make them.
 */
import { Worker } from 'node:worker_threads';
import type { DiskKind } from './disk-kind.ts';
import type { InspectionOrder, InspectionReport } from './inspect-worker.ts';
import { notAcceptable } from './refusals.ts';

export interface InspectedImage {
  /** The size of the disk inside. */
  readonly virtualBytes: number;
  /** At most so much of it is data: a compressed file may hold far more than its own length. Undefined: as much as was sent. */
  readonly dataBytesMax?: number;
}

export interface InspectionOptions {
  readonly virtualBytesMax: number;
  readonly signal: AbortSignal;
  /** For tests. */
  readonly patienceMs?: number;
}

const threadMemoryMib = 512;
/** The tables of the largest disks are some GiB, which take a minute. */
const patienceMsUsual = 10 * 60_000;

/** Rejects with a bad-request `ProductError` that names the reason. */
export async function inspectImage(path: string, kind: DiskKind, options: InspectionOptions): Promise<InspectedImage> {
  options.signal.throwIfAborted();
  const order: InspectionOrder = { path, kind, virtualBytesMax: options.virtualBytesMax };
  const worker = new Worker(new URL('./inspect-worker.ts', import.meta.url), {
    workerData: order,
    resourceLimits: { maxOldGenerationSizeMb: threadMemoryMib },
  });
  try {
    const report = await reportOf(worker, options);
    if ('refusal' in report) throw notAcceptable(report.refusal);
    return report;
  } finally {
    await worker.terminate();
  }
}

function reportOf(worker: Worker, { signal, patienceMs = patienceMsUsual }: InspectionOptions): Promise<InspectionReport> {
  return new Promise((resolve, reject) => {
    const patience = setTimeout(() => reject(notAcceptable('reading its tables takes too long')), patienceMs);
    const giveUp = (): void => reject(signal.reason);
    signal.addEventListener('abort', giveUp, { once: true });
    worker.once('message', resolve);
    worker.once('error', (error: Error & { code?: string }) => {
      // The tables of an honest file fit easily.
      reject(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? notAcceptable('its tables are too large', error) : error);
    });
    worker.once('exit', () => {
      clearTimeout(patience);
      signal.removeEventListener('abort', giveUp);
      reject(new Error('the inspecting thread ended without a report'));
    });
  });
}
