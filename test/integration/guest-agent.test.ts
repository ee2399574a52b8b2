import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GuestAgent, type GuestAgentLimits, withGuestAgent } from '../../src/engine/hypervisor/guest-agent.ts';
import { makeFormattedDisk } from '../support/guest/disk-images.ts';
import { runInGuest } from '../support/guest/run-in-guest.ts';
import { type RunningGuest, startGuest } from '../support/guest/start-guest.ts';

let folder: string;
let guest: RunningGuest;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-agent-'));
  const disks = ['ext4', 'xfs'].map((kind) => join(folder, kind)) as [string, string];
  await makeFormattedDisk(disks[0], 'ext4');
  await makeFormattedDisk(disks[1], 'xfs');
  guest = await startGuest({ agentPath: join(folder, 'agent'), disks });
});
afterAll(async () => {
  await guest?.stop();
  await rm(folder, { recursive: true, force: true });
});

const talk = <T>(work: (agent: GuestAgent) => Promise<T>, limits?: Partial<GuestAgentLimits>): Promise<T> =>
  withGuestAgent(guest.agentPath, work, limits);
const shell = (script: string): Promise<string> => talk((agent) => runInGuest(agent, script));

describe('the agent of a real guest', () => {
  it('says what it is, and what it can', async () => {
    const { version, commands } = await talk(async (agent) => {
      await agent.ping();
      return await agent.info();
    });
    expect(version).toMatch(/^\d+\.\d+/);
    expect(commands.get('guest-fsfreeze-freeze')).toEqual({ enabled: true });
  });

  it('knows its file systems', async () => {
    const found = await talk((agent) => agent.fileSystems());
    expect(found.map(({ device, mountpoint, kind }) => [device, mountpoint, kind]).sort()).toEqual([
      ['vda', '/data', 'ext4'],
      ['vdb', '/data-vdb', 'xfs'],
    ]);
    expect(found.every(({ usedBytes = 0, totalBytes = 0 }) => usedBytes > 0 && totalBytes > usedBytes)).toBe(true);
  });

  it('runs programs and gives back what they print, and how they end', async () => {
    await expect(shell('echo out; echo err >&2; exit 3')).rejects.toThrow('ended with 3: err');
    const input = Buffer.from([0, 255, 10, 13]);
    const output = await talk(async (agent) => {
      const processId = await agent.exec({ path: '/bin/cat', input });
      for (;;) {
        const state = await agent.execStatus(processId);
        if (state.hasEnded) return state;
      }
    });
    expect(output).toMatchObject({ exitCode: 0, isTruncated: false });
    expect(output.hasEnded && output.stdout.equals(input)).toBe(true);
    await expect(talk((agent) => agent.exec({ path: '/no/such/program' }))).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('/no/such/program'),
    });
  });

  it('that prints more than an answer may hold is understood again afterwards', async () => {
    await expect(shell('yes | head -c 6000000')).rejects.toMatchObject({ kind: 'garbled' });
    expect(await shell('echo here')).toBe('here');
  });

  it('sets the clock', async () => {
    await talk((agent) => agent.setTime(new Date('2030-05-06T07:08:09Z')));
    expect(await shell('date -u +%Y-%m-%dT%H:%M')).toBe('2030-05-06T07:08');
  });
});

describe('a freeze', () => {
  it('holds back what is written until the thaw, and the hook has left its mark', async () => {
    await shell('rm -f /data/hook-mark; echo succeeds > /run/hook');
    await talk(async (agent) => {
      expect(await agent.freezeStatus()).toBe('thawed');
      expect(await agent.freeze()).toBe(2);
      expect(await agent.freezeStatus()).toBe('frozen');
      await expect(agent.exec({ path: '/bin/true' })).rejects.toMatchObject({
        kind: 'refused',
        message: expect.stringMatching(/frozen|disabled/i),
      });
      await agent.ping();
      expect(await agent.thaw()).toBe(2);
      expect(await agent.freezeStatus()).toBe('thawed');
    });
    expect(await shell('cat /data/hook-mark; tail -n 2 /run/hook-calls')).toBe('quiet\nfreeze\nthaw');
  });

  it('is refused with what the agent says about the hook that failed, and nothing is frozen', async () => {
    await shell('echo fails > /run/hook');
    await talk(async (agent) => {
      await expect(agent.freeze()).rejects.toMatchObject({ kind: 'refused', message: expect.stringMatching(/hook.*7|7.*hook/) });
      expect(await agent.freezeStatus()).toBe('thawed');
    });
  });

  it('that takes too long is given up, and the agent understood again once its hook has ended', async () => {
    await shell('echo sleeps:2 > /run/hook');
    await talk(
      async (agent) => {
        await expect(agent.freeze(300)).rejects.toMatchObject({ kind: 'timed-out' });
        // It was only late: that is why a thaw follows.
        expect(await agent.freezeStatus()).toBe('frozen');
        expect(await agent.thaw()).toBe(2);
      },
      { syncMs: 10_000 },
    );
    expect(await shell('echo here')).toBe('here');
  });
});

it('an agent that starts anew is found again; one that is stopped is not waited for long', async () => {
  await shell('(sleep 0.3; kill -STOP $(pidof qemu-ga); sleep 3; kill -CONT $(pidof qemu-ga)) > /dev/null 2>&1 &');
  const stopped = async (): Promise<unknown> => {
    for (;;) {
      const error = await talk((agent) => agent.ping(), { syncMs: 500, commandMs: 500 }).catch((reason: unknown) => reason);
      if (error !== undefined) return error;
    }
  };
  expect(await stopped()).toMatchObject({ kind: 'timed-out' });
  await talk((agent) => agent.ping(), { syncMs: 15_000 });
  const before = await shell('pidof qemu-ga');
  await shell('(sleep 0.2; kill -9 $(pidof qemu-ga)) > /dev/null 2>&1 &');
  let after = before;
  while (after === before) after = await shell('pidof qemu-ga').catch(() => before);
  expect(after).not.toBe(before);
});
