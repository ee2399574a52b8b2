import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type CommandResult, run, stillpoint } from '../support/clients.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/** The life of one service as its operator sees it. */

const cli = join(import.meta.dirname, '../../src/main/cli.ts');

let stateDir: string;
let service: ServiceUnderTest;

beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
});

afterAll(async () => {
  await service.stop();
  await removeStateDir(stateDir);
});

const command = (...args: string[]): Promise<CommandResult> =>
  run(process.execPath, [cli, ...args], { STILLPOINT_STATE_DIR: stateDir, OS_CLOUD: '' });
const statusOf = async () => JSON.parse((await command('status', '-f', 'json')).stdout);
const passwordNow = async () => /OS_PASSWORD='(.+)'/.exec(await readFile(join(stateDir, 'openrc'), 'utf8'))?.[1];

it('stops cleanly, says so to whoever asks, and comes back with the same password', async () => {
  expect(await statusOf()).toMatchObject({ ready: true, counts: { volumes: 0, images: 0 } });
  const password = await passwordNow();
  expect(await service.stop()).toBe('0');

  const stopped = await command('status');
  expect(stopped.code).toBe(5);
  expect(stopped.stderr).toContain('is the service running?');

  service = await startServiceUnderTest(stateDir);
  expect(await passwordNow()).toBe(password);
  expect((await statusOf()).ready).toBe(true);
});

it('comes back at once after kill -9', async () => {
  await service.kill();
  service = await startServiceUnderTest(stateDir);
  expect((await statusOf()).ready).toBe(true);
});

it('lets nobody else see into its folders', async () => {
  const modes = await Promise.all(
    ['.', 'clouds.yaml', 'openrc', 'keys', 'volumes', 'images', 'repositories', 'lock'].map(async (name) => {
      return [name, ((await stat(join(stateDir, name))).mode & 0o777).toString(8)];
    }),
  );
  expect(Object.fromEntries(modes)).toEqual({
    '.': '711',
    'clouds.yaml': '600',
    openrc: '600',
    keys: '700',
    volumes: '700',
    images: '700',
    repositories: '700',
    lock: '600',
  });
});

it('refuses a second service on its state directory and on its address, with the reason', async () => {
  const sameFolder = await command('serve');
  expect(sameFolder.code).toBe(4);
  expect(sameFolder.stderr).toBe(`stillpoint: another Stillpoint (process ${service.processId}) uses ${stateDir}\n`);

  const other = await makeStateDir();
  try {
    const sameAddress = await run(process.execPath, [cli, 'serve'], {
      STILLPOINT_STATE_DIR: other,
      STILLPOINT_LISTEN: new URL(service.url).host,
    });
    expect(sameAddress.code).toBe(4);
    expect(sameAddress.stderr).toContain(`${new URL(service.url).host} is in use`);
  } finally {
    await removeStateDir(other);
  }
});

it('says what is wrong with a setting before it touches anything', async () => {
  const fresh = await makeStateDir();
  const { code, stderr } = await run(process.execPath, [cli, 'serve'], { STILLPOINT_STATE_DIR: fresh, STILLPOINT_LISTEN: 'nowhere' });
  expect(code).toBe(2);
  expect(stderr).toContain("STILLPOINT_LISTEN is 'nowhere'");
  await expect(stat(join(fresh, 'keys'))).rejects.toThrow('ENOENT');
  await removeStateDir(fresh);
});

it('is found healthy by the doctor, who notices when a tool is gone', async () => {
  const environment = { STILLPOINT_STATE_DIR: stateDir, STILLPOINT_LISTEN: new URL(service.url).host };
  const healthy = await run(process.execPath, [cli, 'doctor', '-f', 'json'], environment);
  expect(JSON.parse(healthy.stdout).filter((finding: { ok: boolean }) => !finding.ok)).toEqual([]);
  expect(healthy.code).toBe(0);
  const { detail } = JSON.parse(healthy.stdout).find(({ check }: { check: string }) => check === 'acceleration');
  expect(detail).toMatch(/^(?:KVM$|none, machines are emulated \(TCG\) and slow: .+; to change that, .+)/);
  const ill = await run(process.execPath, [cli, 'doctor'], { ...environment, PATH: '/nowhere' });
  expect(ill.code).toBe(1);
  expect(ill.stdout).toMatch(/^MISSING {2}qemu-img +not found/m);
  expect(ill.stdout).toMatch(/apt-get install -y --no-install-recommends .*qemu-utils/);
  // The test's own service is asked with its own credentials.
  expect(await stillpoint(service, 'status'), service.log()).toMatchObject({ code: 0, stderr: '' });
});
