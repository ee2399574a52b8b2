import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';
import { makeVolume } from '../../support/scenario.ts';
import { guestIsReady, makeFlavor, serverBecomes, uploadGuest } from '../../support/servers.ts';

/** Each command on servers, with the unmodified clients, on a guest that really boots. */

const { on, api } = await cloudForCommands();
const guest = await uploadGuest(api);
const image = await guest.diskImage();
const flavor = await makeFlavor(api);

it('server create, list, show, console log show, set, lock and unlock', async () => {
  const made = await on.json(`server create --flavor ${flavor} --image ${image} --property role=web --wait web`);
  expect(made).toMatchObject({ name: 'web', status: 'ACTIVE', properties: { role: 'web' } });
  expect(await on.json('server list')).toMatchObject([{ ID: made.id, Name: 'web', Status: 'ACTIVE', Image: 'guest' }]);
  expect((await on.json('server list --status SHUTOFF')).length).toBe(0);
  await guestIsReady(api, made.id);
  expect(await on.succeed('console log show web')).toContain('guest: ready');
  await on.succeed('server set --property tier=front web');
  await on.succeed('server unset --property role web');
  expect((await on.json('server show web')).properties).toEqual({ tier: 'front' });
  await on.succeed('--os-compute-api-version 2.79 server lock --reason audit web');
  expect(await on.json('--os-compute-api-version 2.79 server show web')).toMatchObject({ locked: true, locked_reason: 'audit' });
  await on.succeed('server unlock web');
  await on.succeed('server lock web');
  await on.succeed('server unlock web');
  await on.succeed('--os-compute-api-version 2.26 server set --tag a web');
  expect((await on.json('--os-compute-api-version 2.26 server show web')).tags).toEqual(['a']);
  expect((await on.json('server event list web')).map((event: { Action: string }) => event.Action)).toEqual(['create']);
});

it('server create with --boot-from-volume and --block-device, and delete', async () => {
  const data = await makeVolume(api, {});
  const booted = await on.json(`server create --flavor ${flavor} --image ${image} --boot-from-volume 1 --wait from-volume`);
  expect(booted.status).toBe('ACTIVE');
  const devices = `--block-device source_type=volume,uuid=${data},destination_type=volume`;
  const other = await on.json(
    `--os-compute-api-version 2.67 server create --flavor ${flavor} --image ${image} --network none ${devices} several`,
  );
  await serverBecomes(api, other.id, 'ACTIVE');
  expect((await on.json('server show several')).volumes_attached).toMatchObject([{ id: data }]);
  await on.succeed('server delete --wait web from-volume several');
  expect(await on.json('server list')).toEqual([]);
  expect((await on.json(`volume show ${data}`)).status).toBe('available');
});
