/** The body of the thread that reads the tables of an uploaded file. Reports once. */
import { closeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { dataBytesOf, openLayer } from '../disk/load-layer.ts';
import { parseQcow2Header, Qcow2Error, type Qcow2Header, qcow2HeaderBytesWanted } from '../disk/qcow2-header.ts';
import type { DiskKind } from './disk-kind.ts';
import { type DiskFacts, type ImageReader, ImageRefusal, openImage, refuseLarger } from './formats/image-reader.ts';
import { refuseOtherFormats } from './formats/signatures.ts';
import { inspectVdi } from './formats/vdi.ts';
import { inspectVhdx } from './formats/vhdx.ts';
import { inspectVmdk } from './formats/vmdk.ts';
import { inspectVpc } from './formats/vpc.ts';

export interface InspectionOrder {
  readonly path: string;
  readonly kind: DiskKind;
  readonly virtualBytesMax: number;
}

export type InspectionReport = { readonly virtualBytes: number; readonly dataBytesMax?: number } | { readonly refusal: string };

const order = workerData as InspectionOrder;
parentPort?.postMessage(report());

function report(): InspectionReport {
  const file = openImage(order.path);
  try {
    refuseOtherFormats(file, order.kind);
    const facts = inspectAs(order.kind, file);
    refuseLarger(facts.virtualBytes, order.virtualBytesMax);
    return facts;
  } catch (error) {
    if (error instanceof Qcow2Error || error instanceof ImageRefusal) return { refusal: error.message };
    throw error;
  } finally {
    file.close();
  }
}

/** Without `dataBytesMax`: as much as was sent. */
function inspectAs(kind: DiskKind, file: ImageReader): { virtualBytes: number; dataBytesMax?: number } {
  switch (kind) {
    case 'raw':
    case 'iso':
      return { virtualBytes: file.sizeBytes };
    case 'qcow2':
      return inspectQcow2(file);
    case 'vmdk':
      return inspectVmdk(file, order.virtualBytesMax);
    case 'vpc':
      return inspectVpc(file, order.virtualBytesMax);
    case 'vhdx':
      return inspectVhdx(file, order.virtualBytesMax);
    case 'vdi':
      return inspectVdi(file, order.virtualBytesMax);
  }
}

function inspectQcow2(file: ImageReader): DiskFacts {
  const header = parseQcow2Header(file.start(qcow2HeaderBytesWanted), file.sizeBytes);
  const refusal = refusalOf(header);
  if (refusal !== undefined) throw new ImageRefusal(refusal);
  refuseLarger(header.sizeBytes, order.virtualBytesMax);
  const layer = openLayer({ path: order.path, format: 'qcow2' });
  try {
    return { virtualBytes: layer.sizeBytes, dataBytesMax: dataBytesOf(layer) };
  } finally {
    closeSync(layer.fd);
  }
}

/** What a file may well have, but an image for many must not. The backing name is not repeated: it may be a secret of the sender's. */
function refusalOf(header: Qcow2Header): string | undefined {
  if (header.backingFile !== undefined) return 'the qcow2 file has a backing file';
  if (header.hasExternalDataFile) return 'the qcow2 file keeps its data in another file';
  if (header.encrypted) return 'the qcow2 file is encrypted';
  if (header.snapshotCount > 0) return 'the qcow2 file has internal snapshots';
  return undefined;
}
