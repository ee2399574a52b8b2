import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';
import { makeBackup, makeSnapshot, makeVolume, mustSettle } from '../../support/scenario.ts';

/** Each command on backups that people use, with the unmodified clients: exit codes and fields. */

const { api, on } = await cloudForCommands();
const volumeId = await makeVolume(api, {}, 'disk');

const available = (id: string) => mustSettle(api, 'backups', id, 'available');

it('volume backup create', async () => {
  const full = await on.json('volume backup create --name full --description words --container vault disk');
  expect(full).toMatchObject({ name: 'full' });
  expect(await available(full.id)).toMatchObject({ is_incremental: false, container: 'vault', description: 'words', size: 1 });
  const increment = await on.json('volume backup create --name increment --incremental disk');
  expect(await available(increment.id)).toMatchObject({ is_incremental: true });
  const snapshotId = await makeSnapshot(api, volumeId);
  const ofSnapshot = await on.json(`volume backup create --name of-snapshot --snapshot ${snapshotId} --force disk`);
  expect(await available(ofSnapshot.id)).toMatchObject({ snapshot_id: snapshotId });
  const tagged = await on.json('--os-volume-api-version 3.51 volume backup create --name tagged --property a=1 disk');
  expect(await available(tagged.id)).toMatchObject({ metadata: { a: '1' } });
  expect(await on.refused('volume backup create nonesuch')).toContain('nonesuch');
});

it('cinder backup-create', async () => {
  const [made] = await on.cinder('backup-create --name cindered --incremental disk');
  expect(made).toMatchObject({ name: 'cindered', volume_id: volumeId });
  expect(await available(made?.id ?? '')).toMatchObject({ is_incremental: true });
});

it('volume backup list', async () => {
  const [full] = await on.json('volume backup list --long --name full');
  expect(full).toMatchObject({ Name: 'full', Description: 'words', Status: 'available', Size: 1, Volume: volumeId, Container: 'vault' });
  // For people it looks up the names of volumes.
  expect(await on.succeed('volume backup list --long --name full')).toContain('| disk ');
  const all = await on.json('volume backup list --all-projects --status available --volume disk');
  expect(all).toHaveLength(5);
  const [first] = await on.json('volume backup list --limit 1');
  const [second] = await on.json(`volume backup list --limit 1 --marker ${first.ID}`);
  expect(second.ID).not.toBe(first.ID);
});

it('cinder backup-list', async () => {
  const named = await on.cinder('backup-list --sort name:asc --with-count --all-tenants --status available');
  const names = named.map(({ Name }) => Name);
  expect(names).toEqual(names.toSorted());
  expect(named.find(({ Name }) => Name === 'full')).toMatchObject({ 'Volume ID': volumeId, Status: 'available', Size: '1' });
  expect(await on.cinder(`backup-list --volume-id ${volumeId} --filters name=full`)).toMatchObject([{ Name: 'full' }]);
});

it('volume backup show', async () => {
  const shown = await on.json('volume backup show full');
  expect(shown).toMatchObject({ name: 'full', status: 'available', volume_id: volumeId, fail_reason: null, has_dependent_backups: true });
  expect((await on.cinder('backup-show full'))[0]).toMatchObject({ id: shown.id });
  await on.refused('volume backup show nonesuch');
});

it('volume backup restore, and cinder backup-restore', async () => {
  // It crashes when it prints the answer, but what it asked for runs.
  const { id } = await on.json('volume backup show full');
  expect(await on.refused('volume backup restore full')).toContain('VolumeBackupsRestore');
  await mustSettle(api, 'backups', id, 'available');
  const [restored] = await on.cinder('backup-restore --name back full');
  expect(restored).toMatchObject({ backup_id: id, volume_name: 'back' });
  await mustSettle(api, 'volumes', restored?.volume_id ?? '', 'available');
  const [onto] = await on.cinder(`backup-restore --volume ${volumeId} increment`);
  expect(onto).toMatchObject({ volume_id: volumeId });
  await mustSettle(api, 'volumes', volumeId, 'available');
});

it('volume backup set, cinder backup-update and backup-reset-state', async () => {
  await on.succeed('--os-volume-api-version 3.43 volume backup set --name renamed --description new --property k=v tagged');
  expect(await on.json('--os-volume-api-version 3.43 volume backup show renamed')).toMatchObject({ description: 'new' });
  await on.cinder('backup-update --description newer renamed');
  await on.succeed('volume backup set --state error renamed');
  expect((await on.json('volume backup show renamed')).status).toBe('error');
  await on.cinder('backup-reset-state renamed');
  expect(await on.json('volume backup show renamed')).toMatchObject({ status: 'available', description: 'newer' });
});

it('volume backup record export and import', async () => {
  const record = await on.json('volume backup record export of-snapshot');
  expect(record).toEqual({ backup_service: expect.any(String), backup_url: expect.stringMatching(/^[A-Za-z0-9+/]+=*$/) });
  const [exported] = await on.cinder(`backup-export ${(await on.json('volume backup show of-snapshot')).id}`);
  expect(exported).toMatchObject({ backup_service: record.backup_service });
  // It is still known: a record brings back what was forgotten.
  await on.refused(`volume backup record import ${record.backup_service} ${record.backup_url}`);
});

it('volume backup delete', async () => {
  expect(await on.refused('volume backup delete full')).toContain('Incremental backups exist');
  const [spare, forced] = [await makeBackup(api, volumeId), await makeBackup(api, volumeId)];
  await on.succeed(`volume backup delete ${spare}`);
  await on.succeed(`volume backup delete --force ${forced}`);
  for (const id of [spare, forced]) expect(await api.settled('backups', id)).toBeUndefined();
  await on.cinder('backup-delete cindered');
});
