/** The body of the thread that reads an uploaded qcow2 file's tables. Reports once. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { dataBytesOf, openLayer } from '../disk/load-layer.ts';
import { parseQcow2Header, Qcow2Error, type Qcow2Header, qcow2HeaderBytesWanted } from '../disk/qcow2-header.ts';

export interface InspectionOrder {
  readonly path: string;
  readonly virtualBytesMax: number;
}

export type InspectionReport = { readonly virtualBytes: number; readonly dataBytesMax: number } | { readonly refusal: string };

const order = workerData as InspectionOrder;
parentPort?.postMessage(inspect());

function inspect(): InspectionReport {
  try {
    const header = readHeader();
    const refusal = refusalOf(header);
    if (refusal !== undefined) return { refusal };
    const layer = openLayer({ path: order.path, format: 'qcow2' });
    try {
      return { virtualBytes: layer.sizeBytes, dataBytesMax: dataBytesOf(layer) };
    } finally {
      closeSync(layer.fd);
    }
  } catch (error) {
    if (error instanceof Qcow2Error) return { refusal: error.message };
    throw error;
  }
}

function readHeader(): Qcow2Header {
  const file = openSync(order.path, 'r');
  try {
    const start = Buffer.alloc(qcow2HeaderBytesWanted);
    const length = readSync(file, start, 0, start.length, 0);
    return parseQcow2Header(start.subarray(0, length), fstatSync(file).size);
  } finally {
    closeSync(file);
  }
}

/** What a file may well have, but an image for many must not. The backing name is not repeated: it may be a secret of the sender's. */
function refusalOf(header: Qcow2Header): string | undefined {
  if (header.backingFile !== undefined) return 'the qcow2 file has a backing file';
  if (header.hasExternalDataFile) return 'the qcow2 file keeps its data in another file';
  if (header.encrypted) return 'the qcow2 file is encrypted';
  if (header.snapshotCount > 0) return 'the qcow2 file has internal snapshots';
  if (header.sizeBytes > order.virtualBytesMax)
    return `the disk of ${header.sizeBytes} bytes is larger than ${order.virtualBytesMax} bytes`;
  return undefined;
}
