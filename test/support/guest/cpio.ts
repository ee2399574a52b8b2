/** Archives in the form that the kernel unpacks at its start (`newc`): a header of hexadecimal numbers, a name and bytes for each entry. */
export interface ArchiveEntry {
  /** Without a leading slash; folders come before what lies in them. */
  readonly name: string;
  /** Type and permissions as in `stat`. */
  readonly mode: number;
  readonly bytes?: Uint8Array;
}

const folderMode = 0o040_755;
const linkMode = 0o120_777;
const fileMode = 0o100_644;
const programMode = 0o100_755;

export const folder = (name: string): ArchiveEntry => ({ name, mode: folderMode });
export const link = (name: string, target: string): ArchiveEntry => ({ name, mode: linkMode, bytes: Buffer.from(target) });
export const file = (name: string, bytes: Uint8Array): ArchiveEntry => ({ name, mode: fileMode, bytes });
export const program = (name: string, bytes: Uint8Array | string): ArchiveEntry => ({ name, mode: programMode, bytes: Buffer.from(bytes) });

export function archiveOf(entries: readonly ArchiveEntry[]): Buffer {
  const parts = [...entries, { name: 'TRAILER!!!', mode: 0 }].flatMap((entry, index) => {
    const name = Buffer.from(`${entry.name}\0`);
    const bytes = entry.bytes ?? Buffer.alloc(0);
    return [padded(Buffer.concat([headerOf(entry.mode, index + 1, name.length, bytes.length), name])), padded(bytes)];
  });
  return Buffer.concat(parts);
}

function headerOf(mode: number, inode: number, nameBytes: number, sizeBytes: number): Buffer {
  // inode, mode, user, group, links, time, size, device (2), device of the node (2), length of the name, checksum
  const numbers = [inode, mode, 0, 0, 1, 0, sizeBytes, 0, 0, 0, 0, nameBytes, 0];
  return Buffer.from(`070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}`);
}

const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
