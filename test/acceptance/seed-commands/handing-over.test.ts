import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';
import { makeVolume, mustSettle } from '../../support/scenario.ts';

/** Transfers, attachments and types, with the unmodified clients: exit codes and fields. */

const { api, on } = await cloudForCommands();

it('volume transfer request create, list, show, accept and delete', async () => {
  const volumeId = await makeVolume(api, {}, 'gift');
  const made = await on.json('volume transfer request create --name parcel gift');
  expect(made).toMatchObject({ name: 'parcel', volume_id: volumeId, auth_key: expect.any(String), created_at: expect.any(String) });
  expect((await on.json('volume show gift')).status).toBe('awaiting-transfer');
  expect(await on.json('volume transfer request list')).toEqual([{ ID: made.id, Name: 'parcel', Volume: volumeId }]);
  expect(await on.json('volume transfer request show parcel')).toMatchObject({ id: made.id, volume_id: volumeId });
  await on.refused(`volume transfer request accept --auth-key wrong ${made.id}`);
  expect(await on.json(`volume transfer request accept --auth-key ${made.auth_key} ${made.id}`)).toMatchObject({ volume_id: volumeId });
  await mustSettle(api, 'volumes', volumeId, 'available');
  await on.succeed('--os-volume-api-version 3.55 volume transfer request create --no-snapshots --name again gift');
  await on.succeed('--os-volume-api-version 3.55 volume transfer request delete again');
  await mustSettle(api, 'volumes', volumeId, 'available');
});

it('volume attachments: create, list, show, update, complete and delete', async () => {
  const volumeId = await makeVolume(api, {}, 'disk');
  const version = '--os-volume-api-version 3.54';
  // Of the newer client, `create` looks for the server first.
  const [made] = await on.cinder(`${version} attachment-create disk 00000000-0000-4000-8000-000000000001`);
  expect(made).toMatchObject({ volume_id: volumeId, instance: '00000000-0000-4000-8000-000000000001', status: 'reserved' });
  expect(await on.json(`${version} volume attachment list`)).toMatchObject([{ ID: made?.id, 'Volume ID': volumeId, Status: 'reserved' }]);
  await on.succeed(`${version} volume attachment set --host here --mountpoint /dev/vdb ${made?.id}`);
  expect(await on.json(`${version} volume attachment show ${made?.id}`)).toMatchObject({ Status: 'attaching' });
  await on.succeed(`${version} volume attachment complete ${made?.id}`);
  expect(await on.json('volume show disk')).toMatchObject({ status: 'in-use' });
  await on.succeed(`${version} volume attachment delete ${made?.id}`);
  await mustSettle(api, 'volumes', volumeId, 'available');
});

it('groups and their snapshots', async () => {
  const version = '--os-volume-api-version 3.58';
  const [type] = await on.cinder(`${version} group-type-create consistent`);
  const [made] = await on.cinder(`${version} group-create --name together consistent __DEFAULT__`);
  expect(made).toMatchObject({ name: 'together', group_type: type?.ID });
  await on.cinder(`${version} create --group-id ${made?.id} --name member 1`);
  await mustSettle(api, 'volumes', (await on.json('volume show member')).id, 'available');
  const [snapshot] = await on.cinder(`${version} group-snapshot-create --name moment together`);
  expect(snapshot).toMatchObject({ name: 'moment', group_id: made?.id });
});

it('volume type create, set, list, show, and volume set --type', async () => {
  const made = await on.json('volume type create --description quick --property tier=gold fast');
  expect(made).toMatchObject({ name: 'fast', description: 'quick', is_public: true, properties: { tier: 'gold' } });
  await on.succeed('volume type set --property vendor:colour=red fast');
  await on.succeed('volume type unset --property tier fast');
  expect(await on.json('volume type show fast')).toMatchObject({ id: made.id, properties: { 'vendor:colour': 'red' } });
  expect(await on.json('volume type list')).toContainEqual({ ID: made.id, Name: 'fast', 'Is Public': true });
  const volumeId = await makeVolume(api, {}, 'typed');
  await on.succeed('volume set --type fast --retype-policy never typed');
  await mustSettle(api, 'volumes', volumeId, 'available');
  expect((await on.json('volume show typed')).type).toBe('fast');
  expect(await on.refused('volume type delete fast')).toContain('present with the type');
  await on.succeed('volume delete typed');
  await api.settled('volumes', volumeId);
  await on.succeed('volume type delete fast');
});

it('volume qos', async () => {
  const made = await on.json('volume qos create --consumer front-end --property iops=100 slow');
  expect(made).toMatchObject({ name: 'slow', consumer: 'front-end', properties: { iops: '100' } });
  await on.succeed('volume type create limited');
  await on.succeed('volume qos associate slow limited');
  expect(await on.json('volume qos show slow')).toMatchObject({ associations: ['limited'] });
  await on.succeed('volume qos disassociate --all slow');
  await on.succeed('volume qos delete slow');
});

it('volume service list, availability zone list, cinder get-pools', async () => {
  const services = await on.json('volume service list');
  const binaries = services.map(({ Binary }: { Binary: string }) => Binary);
  expect(binaries).toEqual(expect.arrayContaining(['cinder-scheduler', 'cinder-volume', 'cinder-backup']));
  expect(services[0]).toMatchObject({ Status: 'enabled', State: 'up' });
  expect(await on.json('availability zone list --volume')).toContainEqual({ 'Zone Name': 'nova', 'Zone Status': 'available' });
  expect((await on.cinder('get-pools'))[0]).toMatchObject({ name: expect.stringContaining('#') });
});
