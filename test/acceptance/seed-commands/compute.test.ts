import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';

/** Each command on what servers are made with, and on what operators see of Compute, with the unmodified clients. */

const { on, stateDir } = await cloudForCommands();

it('flavor list, create, show, set, unset and delete', async () => {
  const names = async (rest = '') => (await on.json(`flavor list ${rest}`)).map(({ Name }: { Name: string }) => Name);
  expect(await names()).toEqual(expect.arrayContaining(['m1.nano', 'm1.tiny', 'm1.xlarge']));
  const made = await on.json('flavor create --id 77 --ram 256 --disk 2 --vcpus 2 --swap 128 --ephemeral 1 --private --property a=b small');
  expect(made).toMatchObject({ id: '77', name: 'small', ram: 256, disk: 2, vcpus: 2, swap: 128, 'OS-FLV-EXT-DATA:ephemeral': 1 });
  expect(await names()).not.toContain('small');
  expect(await names('--all')).toContain('small');
  await on.succeed('project create other');
  await on.succeed('flavor set --project other --property hw:cpu_policy=shared 77');
  const shown = await on.json('flavor show small');
  expect(shown.properties).toEqual({ a: 'b', 'hw:cpu_policy': 'shared' });
  const { id: other } = await on.json('project show other');
  expect(shown.access_project_ids).toEqual([other]);
  await on.succeed('flavor unset --project other --property a 77');
  expect((await on.json('flavor show 77')).properties).toEqual({ 'hw:cpu_policy': 'shared' });
  await on.succeed('--os-compute-api-version 2.55 flavor set --description tiny 77');
  expect((await on.json('--os-compute-api-version 2.55 flavor show 77')).description).toBe('tiny');
  await on.succeed('flavor delete small');
  expect(await on.refused('flavor show small')).toContain('small');
});

it('nova flavor-list, flavor-create, flavor-key, flavor-access-add and flavor-delete', async () => {
  await on.nova('flavor-create --is-public False tight 78 64 1 1');
  expect(await on.nova('flavor-list --all')).toContainEqual(expect.objectContaining({ ID: '78', Name: 'tight', Memory_MiB: '64' }));
  await on.nova('flavor-key tight set a=b');
  expect((await on.nova('flavor-show tight'))[0]).toMatchObject({ name: 'tight', ram: '64', extra_specs: '{"a": "b"}' });
  const { id: other } = await on.json('project show other');
  expect(await on.nova(`flavor-access-add tight ${other}`)).toEqual([{ Flavor_ID: '78', Tenant_ID: other }]);
  await on.nova(`flavor-access-remove tight ${other}`);
  await on.nova('flavor-delete tight');
  expect((await on.nova('flavor-list --all')).map(({ ID }) => ID)).not.toContain('78');
});

it('keypair create, list, show and delete', async () => {
  const keyFile = join(stateDir, 'key.pub');
  const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmvJRJcEwmD3NgHMpJ7RM9uiw9hQdm1i58nDgZ+9Uo7 ada@example';
  await writeFile(keyFile, `${publicKey}\n`);
  expect(await on.succeed('keypair create made')).toContain('-----BEGIN RSA PRIVATE KEY-----');
  expect(await on.json(`keypair create --public-key ${keyFile} laptop`)).toMatchObject({
    name: 'laptop',
    fingerprint: '61:e1:55:bd:81:d4:f1:00:96:5c:37:ca:79:2a:d4:56',
  });
  expect((await on.json('keypair list')).map(({ Name }: { Name: string }) => Name)).toEqual(['laptop', 'made']);
  expect((await on.json('keypair show laptop')).name).toBe('laptop');
  expect((await on.succeed('keypair show --public-key laptop')).trim()).toBe(publicKey);
  expect((await on.nova('keypair-list')).map(({ Name, Type }) => [Name, Type])).toEqual([
    ['laptop', 'ssh'],
    ['made', 'ssh'],
  ]);
  await on.succeed('keypair delete laptop');
  await on.nova('keypair-delete made');
  expect(await on.json('keypair list')).toEqual([]);
  expect(await on.refused('keypair delete made')).toContain('made');
});

it('quota set and show of Compute, and nova quota-show', async () => {
  await on.succeed('quota set --instances 3 --cores 6 --ram 2048 other');
  expect(await on.json('quota show other')).toMatchObject({ instances: 3, cores: 6, ram: 2048, 'key-pairs': 100 });
  const { id } = await on.json('project show other');
  expect(await on.nova(`quota-show --tenant ${id}`)).toContainEqual({ Quota: 'instances', Limit: '3' });
  expect(await on.nova('quota-class-show default')).toContainEqual({ Quota: 'cores', Limit: '20' });
  await on.nova(`quota-update --instances 4 ${id}`);
  expect(await on.nova(`quota-show --tenant ${id}`)).toContainEqual({ Quota: 'instances', Limit: '4' });
  await on.nova(`quota-delete --tenant ${id}`);
  expect((await on.json('quota show other')).instances).toBe(10);
  // Its table of rates comes first, and is empty; the words above and below are those of that table.
  expect(await on.nova('limits')).toContainEqual(expect.objectContaining({ Verb: 'RAM', URI: '0', Value: '51200' }));
  expect(await on.refused('quota set --cores -2 other')).toContain('cores');
});

it('compute service list and set, hypervisor list and show, availability zone list', async () => {
  const services = await on.json('compute service list');
  expect(services.map(({ Binary, State }: Record<string, string>) => [Binary, State])).toContainEqual(['nova-compute', 'up']);
  await on.succeed('compute service set --disable --disable-reason rest stillpoint nova-compute');
  expect(await on.json('compute service list --service nova-compute')).toMatchObject([{ Status: 'disabled' }]);
  await on.succeed('compute service set --enable stillpoint nova-compute');
  const [hypervisor] = await on.json('hypervisor list');
  expect(hypervisor).toMatchObject({ State: 'up' });
  expect((await on.json(`hypervisor show ${hypervisor['Hypervisor Hostname']}`)).hypervisor_type).toBe('QEMU');
  expect((await on.json('hypervisor stats show')).count).toBe(1);
  expect(await on.json('availability zone list --compute')).toContainEqual({ 'Zone Name': 'nova', 'Zone Status': 'available' });
  expect((await on.nova('hypervisor-list'))[0]).toMatchObject({ State: 'up', Status: 'enabled' });
  expect((await on.nova('service-list')).map(({ Binary }) => Binary)).toContain('nova-compute');
  expect((await on.nova('availability-zone-list')).map(({ Name }) => Name)).toContain('nova');
});

it('aggregate create, add host, set, show, remove host and delete', async () => {
  expect(await on.json('aggregate create --zone attic top')).toMatchObject({ name: 'top', availability_zone: 'attic' });
  await on.succeed('aggregate add host top stillpoint');
  await on.succeed('aggregate set --property a=b top');
  expect(await on.json('aggregate show top')).toMatchObject({ hosts: ['stillpoint'], properties: { a: 'b' } });
  expect(await on.json('availability zone list --compute')).toContainEqual({ 'Zone Name': 'attic', 'Zone Status': 'available' });
  expect(await on.refused('aggregate delete top')).toContain('not empty');
  await on.succeed('aggregate remove host top stillpoint');
  await on.succeed('aggregate delete top');
  expect(await on.json('aggregate list')).toEqual([]);
});

it('server group create, list, show and delete', async () => {
  const { id } = await on.json('server group create --policy anti-affinity apart');
  expect((await on.json('server group list')).map(({ ID }: { ID: string }) => ID)).toEqual([id]);
  expect(await on.json('--os-compute-api-version 2.64 server group show apart')).toMatchObject({ id, policy: 'anti-affinity' });
  await on.succeed('server group delete apart');
  const [made] = await on.nova('server-group-create --rule max_server_per_host=2 apart anti-affinity');
  expect(made).toMatchObject({ Name: 'apart', Policy: 'anti-affinity' });
  await on.nova(`server-group-delete ${made?.Id}`);
  expect(await on.json('server group list')).toEqual([]);
});
