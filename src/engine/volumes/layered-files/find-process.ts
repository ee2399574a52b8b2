import { readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { processArguments } from '../../../lib/processes.ts';

export const storageDaemon = 'qemu-storage-daemon';

/**
 * Searches the machine for the storage daemon that was started with `mark` in its arguments: needed after a crash between the start of
 * a daemon and the note of its process id. The cage around it has the same arguments, after a name of its own.
 */
export async function findStorageDaemon(mark: string): Promise<number | undefined> {
  for (const name of await readdir('/proc')) {
    const processId = Number(name);
    if (!Number.isInteger(processId)) continue;
    const [program, ...args] = processArguments(processId);
    if (basename(program ?? '') === storageDaemon && args.some((argument) => argument.includes(mark))) return processId;
  }
  return undefined;
}
