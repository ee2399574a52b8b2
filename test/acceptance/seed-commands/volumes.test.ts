import { beforeAll, describe, expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';
import { makeImage, makeSnapshot, makeVolume, mustSettle } from '../../support/scenario.ts';

/** Each command on volumes that people use, with the unmodified clients: exit codes and fields. */

const { api, on } = await cloudForCommands();

const available = (id: string) => mustSettle(api, 'volumes', id, 'available');

describe('volume create', () => {
  it('takes a size, a type, a description, properties and a zone', async () => {
    const made = await on.json(
      'volume create --size 1 --type __DEFAULT__ --description words --property a=1 --property b=2 --availability-zone nova plain',
    );
    expect(made).toMatchObject({ name: 'plain', size: 1, type: '__DEFAULT__', description: 'words', availability_zone: 'nova' });
    expect(made).toMatchObject({ status: 'creating', bootable: 'false', encrypted: false, multiattach: false });
    expect(made.properties).toEqual({ a: '1', b: '2' });
    expect(made.links).toBeUndefined();
    await available(made.id);
  });

  it('makes one from a snapshot, a volume or an image', async () => {
    const sourceId = await makeVolume(api, {}, 'source');
    const snapshotId = await makeSnapshot(api, sourceId);
    const imageId = await makeImage(api, 'cirros', Buffer.alloc(4096, 7));
    for (const [option, field, id] of [
      [`--snapshot ${snapshotId}`, 'snapshot_id', snapshotId],
      ['--source source', 'source_volid', sourceId],
    ] as const) {
      const made = await on.json(`volume create ${option} from-${field}`);
      expect(made).toMatchObject({ size: 1, [field]: id });
      await available(made.id);
    }
    const made = await on.json('volume create --size 2 --image cirros --bootable from-image');
    await available(made.id);
    const shown = await on.json('volume show from-image');
    expect(shown).toMatchObject({ size: 2, bootable: 'true', volume_image_metadata: { image_id: imageId, image_name: 'cirros' } });
  });

  it('refuses what makes no sense', async () => {
    expect(await on.refused('volume create none')).toContain('--size');
    expect(await on.refused('volume create --size 0 none')).toContain('0');
    expect(await on.refused('volume create --size 1 --type nonesuch none')).toContain('nonesuch');
    expect(await on.refused('volume create --size 1 --image nonesuch none')).toContain('nonesuch');
    expect(await on.refused('volume create --size 1 --availability-zone nonesuch none')).toContain('nonesuch');
  });
});

describe('a volume', () => {
  beforeAll(async () => void (await makeVolume(api, {}, 'it')));

  it('is listed', async () => {
    const listed = await on.json('volume list --name it');
    expect(listed).toEqual([{ ID: expect.any(String), Name: 'it', Status: 'available', Size: 1, 'Attached to': [] }]);
    const long = await on.json('volume list --long --all-projects --status available --limit 1');
    expect(long).toHaveLength(1);
    expect(Object.keys(long[0])).toEqual(expect.arrayContaining(['ID', 'Name', 'Status', 'Size', 'Type', 'Bootable', 'Properties']));
    const next = await on.json(`volume list --all-projects --limit 1 --marker ${long[0].ID}`);
    expect(next[0].ID).not.toBe(long[0].ID);
    expect((await on.cinder('list --name it'))[0]).toMatchObject({ Name: 'it', Status: 'available', Size: '1', Bootable: 'false' });
  });

  it('is shown by name and by id', async () => {
    const byName = await on.json('volume show it');
    expect(await on.json(`volume show ${byName.id}`)).toEqual(byName);
    expect(byName).toMatchObject({ attachments: [], replication_status: null, 'os-vol-tenant-attr:tenant_id': api.projectId });
    expect((await on.cinder('show it'))[0]).toMatchObject({ id: byName.id, name: 'it', status: 'available' });
    expect(await on.refused('volume show nonesuch')).toContain('nonesuch');
  });

  it('grows', async () => {
    await on.succeed('volume set --size 2 it');
    const { id } = await on.json('volume show it');
    expect(await available(id)).toMatchObject({ size: 2 });
    await on.refused('volume set --size 1 it');
  });

  it('is named, described and tagged', async () => {
    await on.succeed('volume set --name it --description new --property k=v --property gone=1 it');
    await on.succeed('volume unset --property gone it');
    expect(await on.json('volume show it')).toMatchObject({ description: 'new', properties: { k: 'v' } });
    await on.succeed('volume set --no-property it');
    expect(await on.json('volume show it')).toMatchObject({ properties: {} });
    await on.succeed('volume set --image-property os=linux it');
    expect(await on.json('volume show it')).toMatchObject({ volume_image_metadata: { os: 'linux' } });
    await on.succeed('volume unset --image-property os it');
  });

  it('has flags', async () => {
    await on.succeed('volume set --bootable --read-only it');
    const { id, properties } = await on.json('volume show it');
    expect((await on.json('volume show it')).bootable).toBe('true');
    expect(properties).toMatchObject({ readonly: 'True' });
    await on.succeed('volume set --non-bootable --read-write it');
    expect(await on.json(`volume show ${id}`)).toMatchObject({ bootable: 'false', properties: { readonly: 'False' } });
  });

  it('has its status reset', async () => {
    await on.succeed('volume set --state error it');
    expect((await on.json('volume show it')).status).toBe('error');
    await on.cinder('reset-state --state available it');
    expect((await on.json('volume show it')).status).toBe('available');
  });

  it('is deleted: plainly, by force, and with its snapshots', async () => {
    const [plain, forced, purged] = [await makeVolume(api, {}, 'd1'), await makeVolume(api, {}, 'd2'), await makeVolume(api, {}, 'd3')];
    await makeSnapshot(api, purged);
    expect(await on.refused('volume delete d3')).toContain('snapshot');
    await on.succeed('volume delete d1');
    await on.succeed('volume delete --force d2');
    await on.succeed('volume delete --purge d3');
    for (const id of [plain, forced, purged]) expect(await api.settled('volumes', id)).toBeUndefined();
    expect(await on.refused('volume delete nonesuch')).toContain('nonesuch');
  });
});

it('cinder revert-to-snapshot goes back to the latest one', async () => {
  const id = await makeVolume(api, {}, 'back');
  await makeSnapshot(api, id);
  const latest = await makeSnapshot(api, id);
  await on.cinder(`--os-volume-api-version 3.70 revert-to-snapshot ${latest}`);
  expect(await available(id)).toMatchObject({ status: 'available' });
});
