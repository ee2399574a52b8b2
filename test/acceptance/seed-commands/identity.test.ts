import { expect, it } from 'vitest';
import { cloudForCommands } from '../../support/command-lines.ts';

/** What operators do in Identity beside users and their passwords, with the unmodified client: exit codes and fields. */

const { on } = await cloudForCommands();

it('domains, and projects below projects', async () => {
  const domain = await on.json('domain create --description words acme');
  expect(domain).toMatchObject({ name: 'acme', description: 'words', enabled: true });
  const top = await on.json('project create --domain acme --tag blue top');
  const below = await on.json('project create --domain acme --parent top below');
  expect(below).toMatchObject({ domain_id: domain.id, parent_id: top.id });
  expect((await on.json('project show --domain acme --parents below')).parents).toEqual({ [top.id]: { [domain.id]: null } });
  expect(await on.json('project list --domain acme --tags blue')).toEqual([{ ID: top.id, Name: 'top' }]);
  expect(await on.refused('project delete top --domain acme')).toContain('HTTP 403');
  expect(await on.refused('domain delete acme')).toContain('disable');
  await on.succeed('domain set --disable acme');
  await on.succeed('domain delete acme');
  expect(await on.json('project list --long')).toMatchObject([{ Name: 'admin' }]);
});

it('groups, roles that imply others, and what comes of them', async () => {
  await on.succeed('user create --password secret ada');
  await on.succeed('group create crew');
  await on.succeed('group add user crew ada');
  expect(await on.succeed('group contains user crew ada')).toContain('ada in group crew');
  await on.succeed('role create auditor');
  expect(await on.json('implied role create auditor --implied-role reader')).toMatchObject({ implies: expect.any(String) });
  await on.succeed('project create demo');
  await on.succeed('role add --group crew --project demo auditor');
  const effective = await on.json('role assignment list --user ada --effective --names');
  expect(effective.map(({ Role }: { Role: string }) => Role).toSorted()).toEqual(['auditor', 'reader']);
  await on.succeed('role remove --group crew --project demo auditor');
  expect(await on.json('role assignment list --user ada --effective')).toEqual([]);
});

it('services, endpoints and regions', async () => {
  await on.succeed('region create north');
  const made = await on.json('service create --name swift object-store');
  expect(made).toMatchObject({ name: 'swift', type: 'object-store', enabled: true });
  const endpoint = await on.json('endpoint create --region north object-store public https://swift.example.org/v1');
  expect(endpoint).toMatchObject({ service_id: made.id, region: 'north', interface: 'public' });
  expect((await on.json('catalog show object-store')).endpoints).toMatchObject([{ url: 'https://swift.example.org/v1' }]);
  await on.succeed(`endpoint delete ${endpoint.id}`);
  await on.succeed('region delete north');
});

it('limits', async () => {
  const registered = await on.json('registered limit create --service swift --default-limit 20 --description words objects');
  expect(registered).toMatchObject({ resource_name: 'objects', default_limit: 20, region_id: null, description: 'words' });
  const own = await on.json('limit create --project demo --service swift --resource-limit 5 objects');
  expect(own).toMatchObject({ resource_name: 'objects', resource_limit: 5 });
  expect(await on.json(`limit set --resource-limit 6 ${own.id}`)).toMatchObject({ resource_limit: 6 });
  expect(await on.json('limit list')).toMatchObject([{ ID: own.id, 'Resource Name': 'objects', 'Resource Limit': 6 }]);
  expect(await on.refused(`registered limit delete ${registered.id}`)).toContain('Failed to delete');
  await on.succeed(`limit delete ${own.id}`);
  await on.succeed(`registered limit delete ${registered.id}`);
});
