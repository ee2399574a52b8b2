/**
 * Names of unfinished files, such that a later process can tell whether their writer still lives.
 *
 * A name is `<host>-<pid>-<start>-<random>`: `host` stands for this machine since its boot and this process-id space, `start` is the
 * writer's start time from the kernel, because process ids come again. Files of another host are of unknown fate: another machine
 * may share the folder. They are leftovers only when nobody touched them for a day; were that wrong, their writer would fail to
 * publish, and nothing else.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

const FOREIGN_LEFTOVER_AGE_MS = 24 * 60 * 60 * 1000;
const namePattern = /^([0-9a-f]{16})-(\d+)-(\d+)-[0-9a-f]{16}$/;

let host: string | undefined;

function hostMark(): string {
  host ??= createHash('sha256')
    .update(JSON.stringify([textOf('/etc/machine-id'), textOf('/proc/sys/kernel/random/boot_id'), processSpace()]))
    .digest('hex')
    .slice(0, 16);
  return host;
}

export function newTemporaryName(): string {
  return `${hostMark()}-${process.pid}-${startTimeOf(process.pid) ?? 0}-${randomBytes(8).toString('hex')}`;
}

/** Removes files whose writer is gone. Returns how many. */
export function sweepTemporaryFiles(folder: string, nowMs: number): number {
  let removed = 0;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (!isLeftover(name, path, nowMs)) continue;
    try {
      unlinkSync(path);
      removed += 1;
    } catch {
      // Somebody else swept it, or its writer just published it.
    }
  }
  return removed;
}

function isLeftover(name: string, path: string, nowMs: number): boolean {
  const match = namePattern.exec(name);
  if (match === null) return false;
  if (match[1] === hostMark()) return String(startTimeOf(Number(match[2])) ?? '') !== match[3];
  try {
    return nowMs - statSync(path).mtimeMs > FOREIGN_LEFTOVER_AGE_MS;
  } catch {
    return false;
  }
}

/** Field 22 of `stat`, counted after the command name, which may hold spaces and brackets. */
function startTimeOf(processId: number): number | undefined {
  const stat = textOf(`/proc/${processId}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[19] === undefined ? undefined : Number(fields[19]);
}

function processSpace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
