/**
 * Writes empty qcow2 overlays.
 *
 * `qemu-img create` does the same, but starting it in its cage takes longer than the rest of a snapshot. The layout is the one of
 * QEMU: header, refcount table, one refcount block, L1 table, each on whole clusters; nothing else exists yet.
 */
import { replaceFileDurably } from '../../lib/durable-files.ts';
import {
  checkQcow2Size,
  qcow2ClusterBytes as clusterBytes,
  l1EntryCountOf,
  makeQcow2Header,
  type Qcow2Image,
} from './write-qcow2-format.ts';

/** Puts the file in place durably, and anew when there was one. */
export async function writeEmptyQcow2(path: string, image: Qcow2Image): Promise<void> {
  checkQcow2Size(image.sizeBytes);
  const clusterCount = 3 + Math.ceil((l1EntryCountOf(image.sizeBytes) * 8) / clusterBytes);
  const tables = { l1OffsetBytes: 3 * clusterBytes, refcountTableOffsetBytes: clusterBytes, refcountTableClusters: 1 };
  const refcountTable = Buffer.alloc(8);
  refcountTable.writeBigUInt64BE(BigInt(2 * clusterBytes));
  const refcounts = Buffer.alloc(clusterCount * 2);
  for (let i = 0; i < clusterCount; i += 1) refcounts.writeUInt16BE(1, i * 2);
  await replaceFileDurably(
    path,
    [
      { atBytes: 0, bytes: makeQcow2Header(image, tables) },
      { atBytes: clusterBytes, bytes: refcountTable },
      { atBytes: 2 * clusterBytes, bytes: refcounts },
    ],
    clusterCount * clusterBytes,
  );
}
