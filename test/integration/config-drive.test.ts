import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { configDriveWorkshop, makeConfigDrive } from '../../src/engine/hypervisor/config-drive.ts';
import type { ConfigDriveContent } from '../../src/engine/hypervisor/config-drive-content.ts';
import { withGuestAgent } from '../../src/engine/hypervisor/guest-agent.ts';
import { mustRun } from '../support/clients.ts';
import { runInGuest } from '../support/guest/run-in-guest.ts';
import { startGuest } from '../support/guest/start-guest.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-config-drive-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const confinement = createConfinement();
const userData = Buffer.concat([Buffer.from('#!/bin/sh\n'), Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))]);
const content: ConfigDriveContent = {
  uuid: '0f6f0b1e-7a2e-4a7f-9f43-2f6a5f4a7a11',
  name: 'Größe "1"',
  hostname: 'groesse-1',
  projectId: 'p'.repeat(32),
  availabilityZone: 'nova',
  launchIndex: 0,
  metadata: { role: 'web', ключ: 'значение', ['__proto__']: 'kept' },
  keys: { mine: 'ssh-ed25519 AAAA me@here' },
  userData,
  adminPassword: 's3cret',
  randomSeed: Buffer.alloc(512, 7),
};
const make = async (name: string, wanted: ConfigDriveContent = content): Promise<string> => {
  const path = join(folder, name);
  await makeConfigDrive(confinement, path, wanted);
  return path;
};
const readIso = async (path: string, name: string): Promise<Record<string, unknown>> =>
  JSON.parse(await mustRun('isoinfo', ['-R', '-i', path, '-x', `/${name}`]));

it('is found and read by a guest', async () => {
  const guest = await startGuest({ agentPath: join(folder, 'agent'), cd: await make('drive') });
  try {
    expect(guest.console()).toContain('/dev/sr0 is mounted on /config (iso9660)');
    const [label, names, metaData, read] = await withGuestAgent(guest.agentPath, async (agent) => [
      await runInGuest(agent, 'dd if=/dev/sr0 bs=1 skip=32808 count=32 2>/dev/null'),
      await runInGuest(agent, 'cd /config && find . -type f | sort'),
      await runInGuest(agent, 'cat /config/openstack/latest/meta_data.json'),
      await runInGuest(agent, 'base64 /config/openstack/latest/user_data'),
    ]);
    expect(label?.trim()).toBe('config-2');
    expect(names?.split('\n').filter((name) => /latest|2009/.test(name))).toEqual([
      './ec2/2009-04-04/meta-data.json',
      './ec2/2009-04-04/user-data',
      './ec2/latest/meta-data.json',
      './ec2/latest/user-data',
      './openstack/latest/meta_data.json',
      './openstack/latest/network_data.json',
      './openstack/latest/user_data',
      './openstack/latest/vendor_data.json',
      './openstack/latest/vendor_data2.json',
    ]);
    expect(JSON.parse(metaData ?? '')).toEqual({
      uuid: content.uuid,
      meta: content.metadata,
      admin_pass: 's3cret',
      public_keys: content.keys,
      keys: [{ name: 'mine', type: 'ssh', data: 'ssh-ed25519 AAAA me@here' }],
      hostname: 'groesse-1',
      name: 'Größe "1"',
      launch_index: 0,
      availability_zone: 'nova',
      random_seed: Buffer.alloc(512, 7).toString('base64'),
      project_id: 'p'.repeat(32),
      devices: [],
      dedicated_cpus: [],
    });
    expect(Buffer.from(read ?? '', 'base64').equals(userData)).toBe(true);
  } finally {
    await guest.stop();
  }
});

it('keeps to what was promised with each version', async () => {
  const path = await make('versions');
  const oldest = await readIso(path, 'openstack/2012-08-10/meta_data.json');
  expect(Object.keys(oldest)).not.toEqual(expect.arrayContaining(['random_seed']));
  expect(await readIso(path, 'openstack/2013-04-04/meta_data.json')).toHaveProperty('random_seed');
  expect(await readIso(path, 'openstack/2018-08-27/meta_data.json')).not.toHaveProperty('dedicated_cpus');
  const names = await mustRun('isoinfo', ['-J', '-f', '-i', path]);
  expect(names).not.toContain('/openstack/2013-04-04/vendor_data.json');
  expect(names).toContain('/openstack/2013-10-17/vendor_data.json');
  expect(names).not.toContain('/openstack/2015-10-15/vendor_data2.json');
  expect(await readIso(path, 'ec2/latest/meta-data.json')).toMatchObject({
    'instance-id': 'i-0f6f0b1e',
    'public-keys': { 0: { 'openssh-key': 'ssh-ed25519 AAAA me@here' } },
  });
});

it('leaves out what was not given', async () => {
  const { userData: _data, adminPassword: _password, randomSeed: _seed, ...rest } = content;
  const path = await make('bare', { ...rest, keys: {}, metadata: {} });
  expect(Object.keys(await readIso(path, 'openstack/latest/meta_data.json')).sort()).toEqual(
    ['availability_zone', 'dedicated_cpus', 'devices', 'hostname', 'launch_index', 'name', 'project_id', 'uuid'].sort(),
  );
  expect(await mustRun('isoinfo', ['-R', '-f', '-i', path])).not.toMatch(/user.data/);
});

it('is the same bytes for the same content, whenever it is made, and only for its owner', async () => {
  const first = await readFile(await make('first'));
  const madeIn = new Date().getSeconds();
  while (new Date().getSeconds() === madeIn) await sleep(20);
  const path = await make('second');
  expect(first.equals(await readFile(path))).toBe(true);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(first.length).toBeLessThan(2 ** 20);
});

it('takes the place of an earlier one, and of what an attempt left that died; one that fails leaves all as it was', async () => {
  const path = await make('drive');
  await mkdir(configDriveWorkshop(path));
  await writeFile(join(configDriveWorkshop(path), 'secret'), 'left behind');
  await make('drive', { ...content, hostname: 'other' });
  expect(await readIso(path, 'openstack/latest/meta_data.json')).toMatchObject({ hostname: 'other' });
  expect(existsSync(configDriveWorkshop(path))).toBe(false);

  const before = await readFile(path);
  await expect(make('drive', { ...content, userData: Buffer.alloc(64 * 1024 + 1) })).rejects.toThrow(RangeError);
  await expect(make('drive', { ...content, metadata: { big: 'x'.repeat(2 ** 20) } })).rejects.toThrow(RangeError);
  const noTool = { ...confinement, run: () => confinement.run({ command: 'false', args: [] }) };
  await expect(makeConfigDrive(noTool, path, content)).rejects.toThrow('false failed');
  expect((await readFile(path)).equals(before)).toBe(true);
  expect((await readdir(folder)).filter((name) => /making|new/.test(name))).toEqual([]);
});
