import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isProcessAlive, waitForEnd } from '../../lib/processes.ts';
import { ConfinementError, createConfinement } from './run-confined.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'confined-'));
  writeFileSync(join(dir, 'seen'), 'seen');
  writeFileSync(join(dir, 'hidden'), 'hidden');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const confinement = createConfinement();
const shell = (script: string): { command: string; args: string[] } => ({ command: 'sh', args: ['-c', script] });

describe('a confined program', () => {
  it('sees the files that were named for it, and nothing else of the machine', async () => {
    const { stdout } = await confinement.run({
      ...shell(`cat ${dir}/seen; ls ${dir} /etc /home /root /var 2>/dev/null; id -u`),
      readOnly: [join(dir, 'seen')],
    });
    expect(stdout).toContain('seen');
    expect(stdout).not.toContain('hidden');
    expect(stdout).not.toContain('passwd');
    expect(stdout.trim().split('\n').at(-1)).toBe('65534');
  });

  it('cannot write what was given for reading', async () => {
    await expect(confinement.run({ ...shell(`echo x > ${dir}/seen`), readOnly: [join(dir, 'seen')] })).rejects.toMatchObject({
      failure: 'failed',
    });
    await confinement.run({ ...shell(`echo x > ${dir}/new`), readWrite: [dir] });
    await expect(confinement.run({ ...shell(`echo x > ${dir}/seen`), readWrite: [dir], readOnly: [join(dir, 'seen')] })).rejects.toThrow();
    expect(readFileSync(join(dir, 'seen'), 'utf8')).toBe('seen');
    expect(existsSync(join(dir, 'new'))).toBe(true);
  });

  it('reaches no network, and no process of the machine', async () => {
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const probe = { command: 'bash', args: ['-c', `exec 3<>/dev/tcp/127.0.0.1/${port}`] };
    await expect(confinement.run(probe)).rejects.toThrow(/refused|unreachable/i);
    server.close();
    await expect(confinement.run(shell(`kill -0 ${process.pid}`))).rejects.toMatchObject({ failure: 'failed' });
  });

  it('gets no variables of the environment but its own', async () => {
    const { stdout } = await confinement.run({ command: 'env', args: [] });
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split('=')[0])
        .sort(),
    ).toEqual(['LC_ALL', 'MALLOC_ARENA_MAX', 'PATH', 'PWD']);
  });

  it('is stopped by limits of memory, file size, output and time', async () => {
    const mib = 2 ** 20;
    await expect(
      confinement.run({
        ...shell('head -c 300000000 /dev/zero | tail -c 200000000 | wc -c'),
        limits: { addressSpaceBytes: 64 * mib },
        exitCodes: [],
      }),
    ).resolves.toMatchObject({ stderr: expect.stringMatching(/memory/) });
    await expect(
      confinement.run({ ...shell(`head -c 2000000 /dev/zero > ${dir}/big`), readWrite: [dir], limits: { fileSizeBytes: mib } }),
    ).rejects.toMatchObject({ failure: 'failed' });
    expect(statSync(join(dir, 'big')).size).toBe(mib);
    await expect(confinement.run({ command: 'yes', args: [], outputBytesMax: 1000 })).rejects.toMatchObject({ failure: 'too-much-output' });
    await expect(confinement.run({ command: 'sleep', args: ['30'], timeoutMs: 100 })).rejects.toMatchObject({ failure: 'timed-out' });
  });

  it('ends when it is aborted, with everything that it started', async () => {
    const aborter = new AbortController();
    const running = confinement.run({ ...shell(`sleep 31.4159 & echo > ${dir}/started; wait`), readWrite: [dir], signal: aborter.signal });
    while (!existsSync(join(dir, 'started'))) await sleep(5);
    aborter.abort(new Error('not any more'));
    await expect(running).rejects.toThrow('not any more');
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'args']);
    expect(stdout).not.toContain('sleep 31.4159');
    await expect(confinement.run({ command: 'true', args: [], signal: AbortSignal.abort(new Error('never')) })).rejects.toThrow('never');
  });

  it('says what it complained about when it fails', async () => {
    await expect(confinement.run({ command: 'qemu-img', args: ['info', '/nowhere'] })).rejects.toThrow(
      /qemu-img failed \(exit code 1\).*nowhere/,
    );
    await expect(confinement.run({ ...shell('exit 3'), exitCodes: [3] })).resolves.toMatchObject({ exitCode: 3 });
  });

  it('that is launched runs on in a session of its own, under its own process id', async () => {
    const { processId } = await confinement.launch({ command: 'sleep', args: ['27.1828'], logPath: join(dir, 'log') });
    await sleep(50);
    expect(readFileSync(`/proc/${processId}/comm`, 'utf8').trim()).toBe('sleep');
    expect(statSync(join(dir, 'log')).mode & 0o777).toBe(0o600);
    process.kill(processId, 'SIGKILL');
    expect(await waitForEnd(processId, 'sleep', 2000)).toBe(true);
    expect(isProcessAlive(process.pid, 'sleep 27')).toBe(false);
  });

  it('is not started at all where it cannot be confined, unless that was allowed', async () => {
    const missing = createConfinement({ bubblewrap: join(dir, 'no-such-program') });
    expect(await missing.obstacle()).toMatch(/not installed/);
    await expect(missing.run({ command: 'true', args: [] })).rejects.toThrow(ConfinementError);
    const refused = createConfinement({ bubblewrap: 'false' });
    await expect(refused.launch({ command: 'true', args: [], logPath: join(dir, 'log') })).rejects.toThrow(/user namespaces/);
    const allowed = createConfinement({ bubblewrap: 'false', allowUnconfined: true });
    await expect(allowed.run({ command: 'echo', args: ['here'] })).resolves.toMatchObject({ stdout: 'here\n' });
    const { processId } = await allowed.launch({ command: 'sleep', args: ['16.18'], logPath: join(dir, 'log') });
    await sleep(50);
    expect(isProcessAlive(processId, 'sleep')).toBe(true);
    process.kill(processId, 'SIGKILL');
  });
});
