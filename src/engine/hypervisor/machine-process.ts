/** Which process is which machine: by its number and the machine's id in its arguments, never by a number alone. */
import { endProcess, processArguments, waitForEnd } from '../../lib/processes.ts';
import { type Machine, MachineError } from './contract.ts';

export const qemu = 'qemu-system-x86_64';

/** Ids stand in arguments and are the names of devices in there. */
const wellFormedId = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export function checkId(id: string): void {
  if (!wellFormedId.test(id)) throw new RangeError(`${JSON.stringify(id)} is no id of a machine or disk`);
}

/** The argument that tells a machine from every other. */
export const markOf = (machineId: string): string => `guest=${machineId},debug-threads=off`;

export const isMachineAlive = ({ id, processId }: Machine): boolean => processArguments(processId).includes(markOf(id));

/** Waits for the end of a machine that is ending. False: it is alive after all. */
export const waitForMachineEnd = ({ id, processId }: Machine, timeoutMs: number): Promise<boolean> =>
  waitForEnd(processId, markOf(id), timeoutMs);

/** First with a signal at which QEMU lets go of its disks properly. A process that stands still, or hangs, ends with the second. */
export async function endMachineProcess({ id, processId }: Machine, signals?: readonly NodeJS.Signals[]): Promise<void> {
  if (!(await endProcess(processId, markOf(id), signals))) {
    throw new MachineError('failed', `the machine (process ${processId}) cannot be ended: the kernel does not let go of it`);
  }
}

/** What the arguments of a QEMU say; undefined when it is none of our machines. */
export const machineIdOf = (args: readonly string[]): string | undefined =>
  /^guest=([^,]+),debug-threads=off$/.exec(args[args.indexOf('-name') + 1] ?? '')?.[1];
