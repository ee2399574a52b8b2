import { findProcesses } from '../../../lib/processes.ts';

export const storageDaemon = 'qemu-storage-daemon';

/**
 * Searches the machine for the storage daemon that was started with `mark` in its arguments: needed after a crash between the start of
 * a daemon and the note of its process id. The cage around it has the same arguments, after a name of its own.
 */
export async function findStorageDaemon(mark: string): Promise<number | undefined> {
  return (await findProcesses(storageDaemon)).find(({ args }) => args.some((argument) => argument.includes(mark)))?.id;
}
