import type { Maker } from './things.ts';
import { newName, type World } from './world.ts';

const v21 = '/compute/v2.1';

async function flavorOf({ must, sessions: { admin } }: World, facts: object): Promise<string> {
  const order = { name: newName('flavor'), ram: 64, vcpus: 1, disk: 1, ...facts };
  return (await must(admin, 'POST', `${v21}/flavors`, { flavor: order })).flavor.id;
}

export const computeThings: Readonly<Record<string, Maker>> = {
  async flavor(world) {
    const id = await flavorOf(world, {});
    await world.must(world.sessions.admin, 'POST', `${v21}/flavors/${id}/os-extra_specs`, { extra_specs: { key: 'value' } });
    return id;
  },
  /** The project may use it. */
  async 'private-flavor'(world) {
    const { must, sessions } = world;
    const id = await flavorOf(world, { 'os-flavor-access:is_public': false });
    await must(sessions.admin, 'POST', `${v21}/flavors/${id}/action`, { addTenantAccess: { tenant: sessions.member.projectId } });
    return id;
  },
};
