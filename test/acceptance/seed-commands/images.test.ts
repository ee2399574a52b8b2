import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';
import { makeVolume, mustSettle } from '../../support/scenario.ts';

/** Each command on images that people use, with the unmodified clients: exit codes, fields and bytes. */

const bytes = Buffer.alloc(3 * 65_536, 'image');

const { api, on, stateDir } = await cloudForCommands();
const file = join(stateDir, '..', 'image.raw');
await writeFile(file, bytes);

async function savedBy(save: (path: string) => Promise<unknown>): Promise<Buffer> {
  const path = join(stateDir, '..', 'saved.raw');
  await save(path);
  const saved = await readFile(path);
  await rm(path);
  return saved;
}

it('image create --file', async () => {
  const made = await on.json(`image create --file ${file} --disk-format raw --tag blue --property os_distro=debian --min-disk 1 disk`);
  // It shows the image as it was before the upload.
  expect(made).toMatchObject({ name: 'disk', status: 'queued', disk_format: 'raw', container_format: 'bare' });
  expect(made).toMatchObject({ visibility: 'shared', protected: false, min_disk: 1, tags: ['blue'] });
  expect(await on.json('image show disk')).toMatchObject({ status: 'active', size: bytes.length });
  expect(await on.refused(`image create --file ${file} --disk-format nonesuch none`)).toContain('nonesuch');
});

it('image save', async () => {
  expect((await savedBy((path) => on.succeed(`image save --file ${path} disk`))).equals(bytes)).toBe(true);
});

it('image show and list', async () => {
  const shown = await on.json('image show disk');
  expect(shown.properties).toMatchObject({
    os_distro: 'debian',
    os_hash_algo: 'sha512',
    os_hash_value: expect.stringMatching(/^[0-9a-f]{128}$/),
  });
  expect(await on.json('image list --name disk')).toEqual([{ ID: shown.id, Name: 'disk', Status: 'active' }]);
  expect(await on.json('image list --long --property os_distro=debian --sort name:asc')).toMatchObject([{ Name: 'disk', Tags: ['blue'] }]);
  expect(await on.refused('image show nonesuch')).toContain('nonesuch');
});

it('image set and unset', async () => {
  await on.succeed('image set --property hw_qemu_guest_agent=yes --tag green --name renamed --min-ram 64 --protected disk');
  expect(await on.json('image show renamed')).toMatchObject({
    min_ram: 64,
    protected: true,
    properties: { hw_qemu_guest_agent: 'yes' },
    tags: expect.arrayContaining(['blue', 'green']),
  });
  expect(await on.refused('image delete renamed')).toContain('protected');
  await on.succeed('image set --unprotected renamed');
  await on.succeed('image unset --property hw_qemu_guest_agent --tag green renamed');
  const { properties, tags } = await on.json('image show renamed');
  expect([properties.hw_qemu_guest_agent, tags]).toEqual([undefined, ['blue']]);
  await on.succeed('image set --deactivate renamed');
  expect((await on.json('image show renamed')).status).toBe('deactivated');
  await on.succeed('image set --activate --community renamed');
  expect(await on.json('image show renamed')).toMatchObject({ status: 'active', visibility: 'community' });
  await on.succeed('image set --shared --name disk renamed');
});

it('image members', async () => {
  const { id } = await on.json('project create friend');
  expect(await on.json('image add project disk friend')).toMatchObject({ member_id: id, status: 'pending' });
  await on.succeed('image set --accept --project friend disk');
  expect(await on.json('image member list disk')).toMatchObject([{ 'Member ID': id, Status: 'accepted' }]);
  await on.succeed('image remove project disk friend');
  expect(await on.json('image member list disk')).toEqual([]);
});

it('image create --volume', async () => {
  const volumeId = await makeVolume(api, {}, 'source');
  const asked = await on.json('image create --volume source --disk-format raw of-volume');
  expect(asked).toMatchObject({ image_name: 'of-volume', size: 1, disk_format: 'raw' });
  await mustSettle(api, 'volumes', volumeId, 'available');
  expect(await on.json('image show of-volume')).toMatchObject({ status: 'active', size: 2 ** 30 });
});

it('glance image-create, -show, -list, -update, -download, -delete', async () => {
  const [made] = await on.glance(`image-create --name glanced --disk-format raw --container-format bare --file ${file}`);
  expect(made).toMatchObject({ name: 'glanced', status: 'active', size: String(bytes.length) });
  const id = made?.id ?? '';
  expect(await on.glance('image-list')).toContainEqual({ ID: id, Name: 'glanced' });
  expect((await on.glance(`image-update --property a=b ${id}`))[0]).toMatchObject({ a: 'b' });
  expect((await on.glance(`image-show ${id}`))[0]).toMatchObject({ id, a: 'b', os_hash_algo: 'sha512' });
  expect((await savedBy((path) => on.glance(`image-download --file ${path} ${id}`))).equals(bytes)).toBe(true);
  await on.glance(`image-delete ${id}`);
  expect(await on.refused(`image show ${id}`)).toContain(id);
});

it('image delete', async () => {
  await on.succeed('image delete disk');
  await on.refused('image show disk');
  expect(await on.refused('image delete nonesuch')).toContain('nonesuch');
});
