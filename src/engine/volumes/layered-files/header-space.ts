import { open } from 'node:fs/promises';
import type { LayerFile } from './layer-paths.ts';
import { readHeader } from './read-header.ts';

const pageBytes = 4096;

/**
 * Takes the space of the whole first cluster, of which files of ours hold only the beginning. QEMU writes all of it with every change of a header; its
 * storage daemon (7.2) crashes when that fails at the end of a merge, and takes its clients with it. Nothing lies behind the name of the layer below.
 */
export async function takeHeaderSpace(file: LayerFile): Promise<void> {
  const { backingFile, clusterBytes } = await readHeader(file);
  const endBytes = (backingFile?.offsetBytes ?? clusterBytes) + Buffer.byteLength(backingFile?.name ?? '');
  const startBytes = Math.ceil(endBytes / pageBytes) * pageBytes;
  if (startBytes >= clusterBytes) return;
  const handle = await open(file.path, 'r+');
  try {
    await handle.write(Buffer.alloc(clusterBytes - startBytes), 0, clusterBytes - startBytes, startBytes);
  } finally {
    await handle.close();
  }
}
