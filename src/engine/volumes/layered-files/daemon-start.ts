/**
 * When a storage daemon that was just started may be spoken to.
 *
 * Its monitor listens in the main thread at first and is handed to a thread of its own a moment later. Who connects in between is served by both:
 * about one daemon in two thousand then never answers, ends with a failed assertion, or ends much later, when the main thread looks at the closed
 * connection (QEMU 7.2; docs/decisions/0021-monitors-are-left-alone-at-start.md). So nobody connects before two things were seen, in this order:
 *  - the pid file: written when the disks are open, the exports there, and the hand-over of the monitor is under way;
 *  - all threads asleep: who sleeps has done what it was told before.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isProcessAlive } from '../../../lib/processes.ts';
import type { DiskExport } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { type ExportFolder, readLog } from './export-folder.ts';
import { storageDaemon } from './find-process.ts';

const startTimeoutMs = 15_000;
const loadTimeoutMs = 2_000;

/** Rejects with `failed` when the daemon ends instead, with the end of its log, or takes longer than 15 s. */
export async function waitUntilServing(target: DiskExport, folder: ExportFolder): Promise<void> {
  const deadline = performance.now() + startTimeoutMs;
  while (!existsSync(folder.pidPath) || !(await areThreadsAsleep(target.processId))) {
    if (performance.now() > deadline) throw new VolumeBackendError('failed', `${storageDaemon} was not ready within ${startTimeoutMs} ms`);
    if (!isProcessAlive(target.processId, target.id) && !(await isStarting(target))) {
      throw new VolumeBackendError('failed', `${storageDaemon} ended at its start: ${await readLog(folder.logPath)}`);
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
 * Between its birth and its becoming the daemon, the process has the arguments of the cage; while the new program is loaded it has none, which
 * on a busy machine takes a while.
 */
export async function isStarting(target: DiskExport): Promise<boolean> {
  const deadline = performance.now() + loadTimeoutMs;
  do {
    if (isProcessAlive(target.processId, target.id)) return true;
    await sleep(20);
  } while (existsSync(`/proc/${target.processId}`) && performance.now() < deadline);
  return false;
}
