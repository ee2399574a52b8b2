import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Person, startWire, type Wire } from '../support/block-storage-wire.ts';

/** What a group shows, and to whom it gives a place. */

let wire: Wire;
let ada: Person;
let type: { id: string };

beforeAll(async () => {
  wire = await startWire();
  ada = await wire.member('ada');
  const made = await wire.send(wire.admin, 'POST', '/group_types', { group_type: { name: 'together' } }, '3.11');
  expect(made.status, JSON.stringify(made.body)).toBe(202);
  type = made.body.group_type;
});
afterAll(() => wire.stop());

async function makeGroup(who: Person): Promise<string> {
  const made = await wire.send(
    who,
    'POST',
    '/groups',
    { group: { name: 'all', group_type: type.id, volume_types: ['__DEFAULT__'] } },
    '3.13',
  );
  expect(made.status, JSON.stringify(made.body)).toBe(202);
  return made.body.group.id;
}

it('it names its volumes from 3.25 on, when it is asked', async () => {
  const groupId = await makeGroup(ada);
  const member = await wire.send(ada, 'POST', '/volumes', { volume: { size: 1, group_id: groupId } }, '3.13');
  expect(await wire.settled(ada, 'volumes', member.body.volume.id)).toBe('available');
  const shown = async (query: string, version: string) =>
    (await wire.send(ada, 'GET', `/groups/${groupId}${query}`, undefined, version)).body.group;
  expect(await shown('?list_volume=True', '3.25')).toMatchObject({ id: groupId, volumes: [member.body.volume.id] });
  expect(await shown('', '3.25')).not.toHaveProperty('volumes');
  expect(await shown('?list_volume=True', '3.24')).not.toHaveProperty('volumes');
  expect((await wire.send(ada, 'GET', `/groups/${groupId}`, undefined, '3.12')).status).toBe(404);
});

it('it takes no volume of another project, not even from an administrator', async () => {
  const groupId = await makeGroup(ada);
  const refused = await wire.send(wire.admin, 'POST', '/volumes', { volume: { size: 1, group_id: groupId } }, '3.13');
  expect([refused.status, refused.body.itemNotFound.message]).toEqual([404, `Group ${groupId} could not be found.`]);
});
