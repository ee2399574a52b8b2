/** Going back to a snapshot, with the client that people have for it, and with our own for any snapshot. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { exitCodes } from '../../src/fronts/cli/exit-codes.ts';
import { cinder, mustRun, openstackJson, stillpoint } from '../support/clients.ts';
import { writeThrough } from '../support/disk-tree.ts';
import { socketPathOf } from '../support/nbd-client.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

let stateDir: string;
let service: ServiceUnderTest;
beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
});
afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
});

const mib = 2 ** 20;

async function own(...args: string[]): Promise<Record<string, string>> {
  const { code, stdout, stderr } = await stillpoint(service, ...args, '--format', 'json');
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

async function connected<T>(volume: string, work: (socketPath: string, uri: string) => Promise<T>): Promise<T> {
  const { uri = '' } = await own('volume', 'connect', volume);
  try {
    return await work(socketPathOf(uri), uri);
  } finally {
    await own('volume', 'disconnect', volume);
  }
}

const write = (volume: string, pattern: number): Promise<void> =>
  connected(volume, (socketPath) => writeThrough(socketPath, [{ offset: 0, length: mib, pattern }]));

/** Fails when the first MiB does not hold the pattern. */
const expectPattern = (volume: string, pattern: number): Promise<unknown> =>
  connected(volume, (_socketPath, uri) => mustRun('qemu-io', ['-r', '-f', 'raw', '-c', `read -P ${pattern} 0 ${mib}`, uri]));

async function untilAvailable(volume: string): Promise<void> {
  while ((await openstackJson(service, 'volume', 'show', volume)).status === 'reverting');
  expect((await openstackJson(service, 'volume', 'show', volume)).status).toBe('available');
}

it('cinder goes back to the latest snapshot, stillpoint to any', async () => {
  const snapshot = (name: string) => openstackJson(service, 'volume', 'snapshot', 'create', '--volume', 'disk', name);
  await openstackJson(service, 'volume', 'create', '--size', '1', 'disk');
  await write('disk', 1);
  await snapshot('monday');
  await write('disk', 2);
  await snapshot('tuesday');
  await write('disk', 3);

  const refused = await cinder(service, '--os-volume-api-version', '3.70', 'revert-to-snapshot', 'monday');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/not the latest one of volume .*\(HTTP 400\)/);
  const reverted = await cinder(service, '--os-volume-api-version', '3.70', 'revert-to-snapshot', 'tuesday');
  expect(reverted.code, reverted.stderr).toBe(0);
  await untilAvailable('disk');
  await expectPattern('disk', 2);

  expect(await own('volume', 'revert', 'disk', 'monday')).toMatchObject({ status: 'available' });
  await expectPattern('disk', 1);
  expect(await own('volume', 'revert', 'disk', 'tuesday')).toMatchObject({ status: 'available' });
  await expectPattern('disk', 2);
});

it('says what is wrong', async () => {
  const unknown = await stillpoint(service, 'volume', 'revert', 'disk', 'sunday');
  expect({ code: unknown.code, stderr: unknown.stderr }).toEqual({ code: exitCodes.notFound, stderr: expect.stringMatching(/sunday/) });
  await connected('disk', async () => {
    const inUse = await stillpoint(service, 'volume', 'revert', 'disk', 'monday');
    expect(inUse.code).toBe(exitCodes.refused);
    expect(inUse.stderr).toMatch(/Volume's status must be 'available'/);
  });
});
