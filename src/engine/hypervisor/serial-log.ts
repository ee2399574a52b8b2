/**
 * What guests say on their first serial port: a file that QEMU appends to, and that outlives the machine.
 *
 * It is bounded twice. While a service watches the machine, a file that has grown beyond a MiB is cut to its last half MiB; what the guest says in that
 * instant may be lost. While none does, the file grows to the limit of QEMU's files (`consoleBytesMax`); what the guest says from then on is dropped,
 * and the guest does not notice. The next service cuts the file, and it goes on.
 */
import { open } from 'node:fs/promises';

/** The kernel refuses more; QEMU, which ignores the signal that goes with it, drops what it could not write. */
export const consoleBytesMax = 4 * 1024 ** 2;
const trimAboveBytes = 1024 ** 2;
const keptBytes = 512 * 1024;

/** Makes it when it is not there, and keeps what an earlier machine said. */
export async function prepareConsole(path: string): Promise<void> {
  const file = await open(path, 'a', 0o600);
  await file.close();
  await trimConsole(path);
}

export async function trimConsole(path: string): Promise<void> {
  const file = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return;
  try {
    const { size } = await file.stat();
    if (size <= trimAboveBytes) return;
    const tail = Buffer.alloc(keptBytes);
    await file.read(tail, 0, keptBytes, size - keptBytes);
    await file.truncate(0);
    await file.write(tail, 0, keptBytes, 0);
  } finally {
    await file.close();
  }
}

/** The end of the file, from the beginning of a character on; empty when there is none. */
export async function readConsoleEnd(path: string, bytesMax: number): Promise<string> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return '';
  try {
    const { size } = await file.stat();
    const length = Math.min(bytesMax, size, consoleBytesMax);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const isContinuation = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80;
    let from = 0;
    while (size > length && from < 3 && isContinuation(buffer[from])) from += 1;
    return buffer.toString('utf8', from, bytesRead);
  } finally {
    await file.close();
  }
}
