import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { processes } from '../../../test/support/processes.ts';
import { probeAcceleration, whyNotRun } from './acceleration.ts';

const probesRunning = async (): Promise<number> =>
  (await processes()).filter(({ parentId, commandLine }) => parentId === process.pid && commandLine.includes('isa-debug-exit')).length;

describe('the probe of acceleration', () => {
  it('has a guest that runs: where KVM does not run it, KVM is to blame', async () => {
    expect(await whyNotRun('tcg')).toBeUndefined();
  });

  it('comes to a result on this machine and leaves no process', async () => {
    const found = await probeAcceleration();
    if (found.kind === 'tcg') expect(found.reason).not.toBe('');
    expect(await probesRunning()).toBe(0);
  });

  it('says that there is no KVM', async () => {
    expect(await probeAcceleration('/dev/no-such-device')).toEqual({
      kind: 'tcg',
      obstacle: 'missing',
      reason: 'there is no /dev/no-such-device',
    });
  });

  it.runIf(process.getuid?.() !== 0)('says that its user may not use KVM', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kvm-'));
    try {
      const device = join(folder, 'kvm');
      await writeFile(device, '');
      await chmod(device, 0);
      expect(await probeAcceleration(device)).toMatchObject({
        kind: 'tcg',
        obstacle: 'forbidden',
        reason: expect.stringContaining('EACCES'),
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
