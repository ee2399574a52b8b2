/** What an operator does who finds disks broken: the real service, its real command line, and the codes with which that ends. */
import { copyFile, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { type Api, signIn } from '../support/api.ts';
import { stillpoint } from '../support/clients.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

let stateDir: string;
let service: ServiceUnderTest;
let api: Api;
beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
  api = await signIn(service);
});
afterAll(async () => {
  await service.stop();
  await removeStateDir(stateDir);
});

async function volume(name: string): Promise<{ id: string; file: string }> {
  const { volume: made } = await api.volume('POST', '/volumes', { volume: { name, size: 1 } });
  await api.settled('volumes', made.id);
  const folder = join(stateDir, 'volumes', made.id);
  return { id: made.id, file: join(folder, (await readdir(folder))[0] ?? '') };
}

const doctor = (...args: string[]) => stillpoint(service, 'doctor', '--disks', ...args);

it('finds nothing wrong with a fresh service', async () => {
  const { code, stdout } = await doctor();
  expect([code, stdout]).toEqual([0, expect.stringContaining('Nothing is wrong.')]);
});

it('says what is missing and exits with 6, also after a repair, until the file is back', async () => {
  const { id, file } = await volume('payroll');
  await rename(file, `${stateDir}/elsewhere`);
  const looked = await doctor();
  expect(looked.code).toBe(6);
  expect(looked.stdout).toMatch(/ERROR {2}layer-missing/);
  expect(looked.stdout).toContain(`volume payroll (${id})`);
  const { report } = { report: JSON.parse((await doctor('--repair', '--json')).stdout) };
  expect(report.findings).toMatchObject([{ kind: 'layer-missing', repaired: false, done: expect.stringContaining('In status error now') }]);
  expect((await api.settled('volumes', id)).status).toBe('error');
  await rename(`${stateDir}/elsewhere`, file);
  const back = await doctor();
  expect([back.code, back.stdout]).toEqual([0, expect.stringContaining(`openstack volume set --state available ${id}`)]);
  await api.volume('POST', `/volumes/${id}/action`, { 'os-reset_status': { status: 'available' } });
});

it('moves what nobody knows to the trash, shows it in the status, and gives it back', async () => {
  const { file } = await volume('web');
  const unknown = newId();
  const copy = file.replace(/[^/]+$/, `${unknown}.qcow2`);
  await copyFile(file, copy);
  expect((await doctor()).code).toBe(1);
  const repaired = await doctor('--repair');
  expect([repaired.code, repaired.stdout]).toEqual([0, expect.stringMatching(/REPAIRED {2}layer-unknown/)]);
  expect((await stillpoint(service, 'status')).stdout).toMatch(/^trash +1 /m);
  const restored = await doctor('--restore', unknown);
  expect([restored.code, restored.stdout]).toEqual([0, expect.stringContaining(copy)]);
  expect((await doctor('--restore', unknown)).code).toBe(3);
  expect((await doctor('--deep')).code).toBe(0);
  expect((await stillpoint(service, 'doctor', '--repair')).code).toBe(2);
});

it('repairs what is safe at the next start, and says so in the log', async () => {
  const { file } = await volume('mail');
  const unknown = newId();
  await copyFile(file, file.replace(/[^/]+$/, `${unknown}.qcow2`));
  await service.stop();
  service = await startServiceUnderTest(stateDir);
  await expect.poll(() => service.log(), { timeout: 30_000 }).toContain('compared the disks with the database');
  const told = service
    .log()
    .split('\n')
    .find((line) => line.includes(unknown));
  expect(told).toContain('Moved to the trash.');
  expect((await doctor()).code).toBe(0);
});
