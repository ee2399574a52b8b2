import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';
import { connect, disconnect, makeSnapshot, makeVolume, mustSettle } from '../../support/scenario.ts';

/** Each command on snapshots that people use, with the unmodified clients: exit codes and fields. */

const { api, on } = await cloudForCommands();
const volumeId = await makeVolume(api, {}, 'disk');

it('volume snapshot create', async () => {
  const made = await on.json('volume snapshot create --volume disk --description words --property a=1 monday');
  expect(made).toMatchObject({ name: 'monday', description: 'words', volume_id: volumeId, size: 1, properties: { a: '1' } });
  await mustSettle(api, 'snapshots', made.id, 'available');
  expect(await on.refused('volume snapshot create --volume nonesuch none')).toContain('nonesuch');
});

it('volume snapshot create --force, of a volume in use; the older client too', async () => {
  await connect(api, volumeId);
  expect(await on.refused('volume snapshot create --volume disk none')).toContain('available');
  const forced = await on.json('volume snapshot create --volume disk --force tuesday');
  await mustSettle(api, 'snapshots', forced.id, 'available');
  const [made] = await on.cinder('snapshot-create --force True --name wednesday disk');
  expect(made).toMatchObject({ name: 'wednesday', volume_id: volumeId, status: 'creating', size: '1' });
  await mustSettle(api, 'snapshots', made?.id ?? '', 'available');
  await disconnect(api, volumeId);
});

it('volume snapshot list', async () => {
  const listed = await on.json('volume snapshot list --name monday');
  expect(listed).toEqual([{ ID: expect.any(String), Name: 'monday', Description: 'words', Status: 'available', Size: 1 }]);
  const long = await on.json('volume snapshot list --long --all-projects --status available --volume disk');
  expect(long.map((row: { Name: string }) => row.Name).toSorted()).toEqual(['monday', 'tuesday', 'wednesday']);
  expect(long[0]).toMatchObject({ Volume: volumeId });
  // For people it looks up the names of volumes.
  expect(await on.succeed('volume snapshot list --long --name monday')).toContain('| disk ');
  const [first] = await on.json('volume snapshot list --limit 1');
  const [second] = await on.json(`volume snapshot list --limit 1 --marker ${first.ID}`);
  expect(second.ID).not.toBe(first.ID);
  expect(await on.cinder('snapshot-list --name tuesday')).toMatchObject([{ Name: 'tuesday', Status: 'available', Size: '1' }]);
});

it('volume snapshot show', async () => {
  const shown = await on.json('volume snapshot show monday');
  expect(shown).toMatchObject({
    name: 'monday',
    'os-extended-snapshot-attributes:progress': '100%',
    'os-extended-snapshot-attributes:project_id': api.projectId,
  });
  expect((await on.cinder('snapshot-show monday'))[0]).toMatchObject({ id: shown.id, name: 'monday' });
  await on.refused('volume snapshot show nonesuch');
});

it('volume snapshot set and unset', async () => {
  await on.succeed('volume snapshot set --name renamed --description new --property b=2 monday');
  await on.succeed('volume snapshot unset --property a renamed');
  expect(await on.json('volume snapshot show renamed')).toMatchObject({ description: 'new', properties: { b: '2' } });
  await on.succeed('volume snapshot set --state error renamed');
  expect((await on.json('volume snapshot show renamed')).status).toBe('error');
  await on.cinder('snapshot-reset-state --state available renamed');
});

it('volume snapshot delete', async () => {
  const forced = await makeSnapshot(api, volumeId);
  const { id } = await on.json('volume snapshot show renamed');
  await on.succeed('volume snapshot delete renamed');
  await on.succeed(`volume snapshot delete --force ${forced}`);
  for (const gone of [id, forced]) expect(await api.settled('snapshots', gone)).toBeUndefined();
  await on.cinder('snapshot-delete tuesday');
  expect(await on.refused('volume snapshot delete nonesuch')).toContain('nonesuch');
});
