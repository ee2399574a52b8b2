/**
 * When a program of QEMU's that was just started may be spoken to.
 *
 * Its monitor listens in the main thread at first and is handed to a thread of its own a moment later. Who connects in between is served by both:
 * about one program in two thousand then never answers, ends with a failed assertion, or ends much later, when the main thread looks at the closed
 * connection (QEMU 7.2; docs/decisions/0021-monitors-are-left-alone-at-start.md). So nobody connects before two things were seen, in this order:
 *  - a file that the program makes when the disks are open, the servers there, and the hand-over of the monitor is under way. Of a storage daemon that is
 *    the pid file. A machine writes its pid file before it opens disks, and may sleep while it waits for their servers: it is the socket of the screen;
 *  - all threads asleep: who sleeps has done what it was told before.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isProcessAlive } from '../../lib/processes.ts';

export interface StartingProgram {
  readonly name: string;
  readonly processId: number;
  /** Something in its arguments that no other program has. */
  readonly mark: string;
  /** What it makes when its monitor is there. */
  readonly signPath: string;
  /** What it prints. */
  readonly logPath: string;
}

const startTimeoutMs = 15_000;
const loadTimeoutMs = 2_000;
const logBytesShown = 2000;

/** Rejects when the program ends instead, with the end of its log, or takes longer than 15 s. */
export async function waitUntilStarted(program: StartingProgram): Promise<void> {
  const deadline = performance.now() + startTimeoutMs;
  while (!existsSync(program.signPath) || !(await areThreadsAsleep(program.processId))) {
    if (performance.now() > deadline) throw new Error(`${program.name} was not ready within ${startTimeoutMs} ms`);
    if (!isProcessAlive(program.processId, program.mark) && !(await isStarting(program))) {
      throw new Error(`${program.name} ended at its start: ${await readLogEnd(program.logPath)}`);
    }
    await sleep(1);
  }
}

/** `S` in the kernel's `stat` files of the threads; the name before it may hold anything. */
async function areThreadsAsleep(processId: number): Promise<boolean> {
  const tasks = `/proc/${processId}/task`;
  try {
    const stats = await Promise.all((await readdir(tasks)).map((thread) => readFile(`${tasks}/${thread}/stat`, 'latin1')));
    return stats.every((stat) => stat.slice(stat.lastIndexOf(')')).startsWith(') S'));
  } catch {
    // One of them ended meanwhile.
    return false;
  }
}

/**
 * Between its birth and its becoming the program, the process has the arguments of the cage; while the new program is loaded it has none, which
 * on a busy machine takes a while.
 */
export async function isStarting({ processId, mark }: Pick<StartingProgram, 'processId' | 'mark'>): Promise<boolean> {
  const deadline = performance.now() + loadTimeoutMs;
  do {
    if (isProcessAlive(processId, mark)) return true;
    await sleep(20);
  } while (existsSync(`/proc/${processId}`) && performance.now() < deadline);
  return false;
}

/** The end of what a program printed. */
export async function readLogEnd(logPath: string): Promise<string> {
  return (await readFile(logPath, 'utf8').catch(() => '')).trim().slice(-logBytesShown);
}
