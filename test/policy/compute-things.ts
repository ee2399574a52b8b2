import type { Maker } from './things.ts';
import { newName, type World } from './world.ts';

const v21 = '/compute/v2.1';
const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmvJRJcEwmD3NgHMpJ7RM9uiw9hQdm1i58nDgZ+9Uo7';

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
  /** Of the member, by its name. */
  async keypair({ must, sessions: { member } }) {
    return (await must(member, 'POST', `${v21}/os-keypairs`, { keypair: { name: newName('keypair'), public_key: publicKey } })).keypair
      .name;
  },
  async 'compute-service'({ must, sessions: { admin } }) {
    return (await must(admin, 'GET', `${v21}/os-services?binary=nova-compute`)).services[0].id;
  },
  async hypervisor({ must, sessions: { admin } }) {
    return (await must(admin, 'GET', `${v21}/os-hypervisors`)).hypervisors[0].id;
  },
  async 'server-group'({ must, sessions: { member } }) {
    const order = { name: newName('server-group'), policy: 'affinity' };
    return (await must(member, 'POST', `${v21}/os-server-groups`, { server_group: order })).server_group.id;
  },
  async aggregate({ must, sessions: { admin } }) {
    return String((await must(admin, 'POST', `${v21}/os-aggregates`, { aggregate: { name: newName('aggregate') } })).aggregate.id);
  },
};
