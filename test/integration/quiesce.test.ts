import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type GuestAgent, type GuestAgentLimits, withGuestAgent } from '../../src/engine/hypervisor/guest-agent.ts';
import { type FreezeOptions, type FrozenResult, thawGuest, withFrozenGuest } from '../../src/engine/hypervisor/quiesce.ts';
import { mustRun } from '../support/clients.ts';
import { checkFormattedDisk, makeFormattedDisk } from '../support/guest/disk-images.ts';
import { runInGuest } from '../support/guest/run-in-guest.ts';
import { type RunningGuest, startGuest } from '../support/guest/start-guest.ts';

let folder: string;
let disks: Record<'ext4' | 'xfs', string>;
let guest: RunningGuest;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-quiesce-'));
  disks = { ext4: join(folder, 'ext4'), xfs: join(folder, 'xfs') };
  await makeFormattedDisk(disks.ext4, 'ext4');
  await makeFormattedDisk(disks.xfs, 'xfs');
  guest = await startGuest({ agentPath: join(folder, 'agent'), disks: Object.values(disks), writer: true });
});
afterAll(async () => {
  await guest?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What is written down about the guest, and whether it ever was. */
let armed: { is: boolean; was: boolean };
beforeEach(async () => {
  armed = { is: false, was: false };
  await talk((agent) => runInGuest(agent, 'echo succeeds > /run/hook; : > /run/hook-calls'));
});

const talk = <T>(work: (agent: GuestAgent) => Promise<T>, limits?: Partial<GuestAgentLimits>): Promise<T> =>
  withGuestAgent(guest.agentPath, work, limits);
const shell = (script: string): Promise<string> => talk((agent) => runInGuest(agent, script));
const frozen = <T>(
  work: (held: AbortSignal) => Promise<T>,
  options: Partial<FreezeOptions> = {},
  limits?: Partial<GuestAgentLimits>,
): Promise<FrozenResult<T>> => {
  const arm = async (): Promise<void> => {
    armed = { is: true, was: true };
  };
  const disarm = async (): Promise<void> => {
    armed.is = false;
  };
  return talk((agent) => withFrozenGuest(agent, { arm, disarm, ...options }, work), limits);
};
const lastWritten = (): number => Number([...guest.console().matchAll(/guest: wrote (\d+)/g)].at(-1)?.[1] ?? 0);
/** The writer goes on: what is not frozen. */
const expectToWrite = (): Promise<unknown> => guest.waitFor(/guest: wrote \d+/, guest.console().length);
/** As the next guest does that gets such disks. */
async function mountOnce(paths: readonly string[]): Promise<void> {
  const other = await startGuest({ agentPath: join(folder, 'other-agent'), disks: paths });
  await withGuestAgent(other.agentPath, (agent) => runInGuest(agent, 'umount /data /data-vdb')).finally(() => other.stop());
}

describe('a guest that is frozen while work is done', () => {
  it('stands still meanwhile, has lost nothing that it was told is written, and leaves a file system that is in order', async () => {
    await expectToWrite();
    await shell('dd if=/dev/urandom of=/data-vdb/file bs=1M count=4 2>/dev/null');
    const copies = { ext4: join(folder, 'ext4-copy'), xfs: join(folder, 'xfs-copy') };
    const result = await frozen(async () => {
      expect(armed.is).toBe(true);
      const before = lastWritten();
      for (const kind of ['ext4', 'xfs'] as const) await copyFile(disks[kind], copies[kind]);
      await sleep(300);
      // One that was on its way may be told of late.
      expect(lastWritten() - before).toBeLessThanOrEqual(1);
      return before;
    });
    expect(result).toMatchObject({ frozenFileSystems: 2, held: true, reason: undefined, guest: 'thawed' });
    expect(result.windowMs).toBeGreaterThan(300);
    expect(result.windowMs).toBeLessThan(5_000);
    expect(armed).toEqual({ is: false, was: true });
    await expectToWrite();
    await checkFormattedDisk(copies.ext4, 'ext4');
    await mountOnce([copies.ext4, copies.xfs]);
    await checkFormattedDisk(copies.ext4, 'ext4');
    await checkFormattedDisk(copies.xfs, 'xfs');
    const log = (await mustRun('/usr/sbin/debugfs', ['-R', 'cat /log', copies.ext4])).trim().split('\n').map(Number);
    expect(log).toEqual(log.map((_, index) => index + 1));
    expect(log.length).toBeGreaterThanOrEqual(result.value);
    expect(await shell('cat /run/hook-calls')).toBe('freeze\nthaw');
  });

  it('goes on when the work fails', async () => {
    const work = frozen(() => Promise.reject(new Error('the transaction failed')));
    await expect(work).rejects.toThrow('the transaction failed');
    expect(armed).toEqual({ is: false, was: true });
    await expectToWrite();
  });

  it('goes on when the work takes too long, and the work is told', async () => {
    const result = await frozen(
      async (held) => {
        await once(held, 'abort');
        await expectToWrite();
        return String(held.reason);
      },
      { holdMsMax: 200 },
    );
    expect(result).toMatchObject({ held: false, guest: 'thawed', value: expect.stringContaining('after 200 ms') });
    expect(armed.is).toBe(false);
  });

  it('is not frozen when that cannot be written down before', async () => {
    let worked = false;
    const work = async (): Promise<void> => {
      worked = true;
    };
    await expect(frozen(work, { arm: () => Promise.reject(new Error('no database')) })).rejects.toThrow('no database');
    expect(worked).toBe(false);
    expect(await shell('cat /run/hook-calls')).toBe('');
  });

  it('is not called held when somebody in it thawed a file system meanwhile', async () => {
    // It fails until there is something to thaw.
    await shell('(until fsfreeze --unfreeze /data; do sleep 0.1; done) > /dev/null 2>&1 &');
    const result = await frozen(expectToWrite);
    expect(result).toMatchObject({ held: false, reason: 'only 1 of 2 file systems were still frozen at the end', guest: 'thawed' });
  });
});

describe('a freeze that fails', () => {
  it('with a hook is told with the words of the agent; hooks are told of a thaw, and no work was done', async () => {
    await shell('echo fails > /run/hook');
    let worked = false;
    const work = async (): Promise<void> => {
      worked = true;
    };
    await expect(frozen(work)).rejects.toMatchObject({ kind: 'refused', message: expect.stringContaining('hook') });
    expect({ worked, armed }).toEqual({ worked: false, armed: { is: false, was: true } });
    expect(await shell('cat /run/hook-calls')).toBe('freeze\nthaw');
    await expectToWrite();
  });

  it('by being late is thawed when it came about', async () => {
    await shell('echo sleeps:2 > /run/hook');
    const work = frozen(() => Promise.resolve(), { freezeMsMax: 300 }, { syncMs: 500 });
    await expect(work).rejects.toMatchObject({ kind: 'timed-out' });
    expect(armed).toEqual({ is: false, was: true });
    expect(await talk((agent) => agent.freezeStatus())).toBe('thawed');
    await expectToWrite();
  });
});

describe('a thaw', () => {
  const quick = { syncMs: 1_000, thawMs: 1_000, commandMs: 1_000 };
  /** In the guest: the agent is stopped for some seconds from shortly after the freeze on, which it has answered by then. */
  const stopAgent = [
    'until [ -e /run/qga.state.isfrozen ]; do sleep 0.05; done',
    'sleep 0.5; kill -STOP $(pidof qemu-ga); echo "guest: the agent is stopped" > /dev/console',
    'sleep 4; kill -CONT $(pidof qemu-ga)',
  ].join('; ');
  const frozenWithoutAgent = async (options: Partial<FreezeOptions> = {}): Promise<FrozenResult<unknown>> => {
    await shell(`(${stopAgent}) > /dev/null 2>&1 &`);
    const since = guest.console().length;
    return await frozen(() => guest.waitFor(/the agent is stopped/, since), options, quick);
  };

  it('is tried until the agent answers; whether the freeze held is not known then', async () => {
    const result = await frozenWithoutAgent();
    expect(result).toMatchObject({ held: false, guest: 'thawed', reason: expect.stringContaining('did not answer') });
    expect(armed.is).toBe(false);
    await expectToWrite();
  });

  it('that nobody answers leaves the guest armed for whoever comes next', async () => {
    const result = await frozenWithoutAgent({ thawMsMax: 1_100 });
    expect(result).toMatchObject({ held: false, guest: 'unanswered', reason: expect.stringContaining('did not answer') });
    expect(armed.is).toBe(true);
    expect(await talk((agent) => thawGuest(agent), { syncMs: 10_000 })).toMatchObject({ state: 'thawed' });
    await expectToWrite();
  });

  it('is made up for after the process that froze was killed', async () => {
    const armedPath = join(folder, 'armed');
    const program = join(import.meta.dirname, '../support/guest/freeze-process.ts');
    const child = spawn(process.execPath, [program, guest.agentPath, armedPath], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(existsSync(armedPath)).toBe(true);
    expect(await talk((agent) => agent.freezeStatus())).toBe('frozen');
    expect(await talk((agent) => thawGuest(agent))).toMatchObject({ state: 'thawed', thawedFileSystems: 2 });
    await expectToWrite();
    // Once more does no harm.
    expect(await talk((agent) => thawGuest(agent))).toMatchObject({ state: 'thawed', thawedFileSystems: 0 });
  });

  it('is needed no more when the machine has ended', async () => {
    const result = await frozen(() => guest.stop());
    expect(result).toMatchObject({ held: false, guest: 'gone' });
    expect(armed).toEqual({ is: false, was: true });
  });
});
