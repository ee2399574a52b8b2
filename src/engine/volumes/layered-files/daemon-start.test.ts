import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DiskExport } from '../contract.ts';
import { waitUntilServing } from './daemon-start.ts';
import { type ExportFolder, folderAt } from './export-folder.ts';

describe('a storage daemon that was just started', () => {
  let folder: ExportFolder;
  let child: ChildProcess | undefined;

  beforeEach(async () => {
    folder = folderAt(await mkdtemp(join(tmpdir(), 'stillpoint-start-')));
  });
  afterEach(async () => {
    // With what the shell started.
    if (child?.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
    await rm(folder.path, { recursive: true, force: true });
  });

  /** A process with the id of the export in its arguments, as the daemon. */
  function run(script: string): DiskExport {
    child = spawn('sh', ['-c', script, 'export-of-a-test'], { cwd: folder.path, stdio: 'ignore', detached: true });
    return { id: 'export-of-a-test', home: 'home', socketPath: '', monitorPath: '', processId: child.pid as number };
  }

  const pending = Symbol('pending');
  const soon = (waiting: Promise<void>): Promise<unknown> => Promise.race([waiting, sleep(200, pending)]);

  it('is left alone until its pid file is there and all that it was told before is done', async () => {
    const waiting = waitUntilServing(run('until [ -e done ]; do :; done; sleep 30; :'), folder);
    expect(await soon(waiting)).toBe(pending);
    await writeFile(folder.pidPath, '1\n');
    expect(await soon(waiting)).toBe(pending);
    await writeFile(join(folder.path, 'done'), '');
    await expect(waiting).resolves.toBeUndefined();
  });

  it('that only sleeps is not ready', async () => {
    const waiting = waitUntilServing(run('sleep 30; :'), folder);
    expect(await soon(waiting)).toBe(pending);
    await writeFile(folder.pidPath, '1\n');
    await expect(waiting).resolves.toBeUndefined();
  });

  it('and ends instead is reported with what it printed', async () => {
    await writeFile(folder.logPath, 'Could not open a layer\n');
    await expect(waitUntilServing(run('exit 1'), folder)).rejects.toMatchObject({
      kind: 'failed',
      message: 'qemu-storage-daemon ended at its start: Could not open a layer',
    });
  });
});
