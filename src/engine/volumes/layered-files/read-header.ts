import { open } from 'node:fs/promises';
import { parseQcow2Header, type Qcow2Header, qcow2HeaderBytesWanted } from '../../disk/qcow2-header.ts';
import type { LayerFile } from './layer-paths.ts';

/** Throws `Qcow2Error` when the file does not begin as a qcow2 file does. */
export async function readHeader(file: LayerFile): Promise<Qcow2Header> {
  const handle = await open(file.path, 'r');
  try {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(size, qcow2HeaderBytesWanted)), { position: 0 });
    return parseQcow2Header(buffer.subarray(0, bytesRead), size);
  } finally {
    await handle.close();
  }
}
