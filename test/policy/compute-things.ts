import { setTimeout as pause } from 'node:timers/promises';
import type { Answer } from '../support/api.ts';
import { made } from './block-storage-things.ts';
import type { Maker } from './things.ts';
import { newName, type World } from './world.ts';

const v21 = '/compute/v2.1';
const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmvJRJcEwmD3NgHMpJ7RM9uiw9hQdm1i58nDgZ+9Uo7';

async function flavorOf({ must, sessions: { admin } }: World, facts: object): Promise<string> {
  const order = { name: newName('flavor'), ram: 64, vcpus: 1, disk: 1, ...facts };
  return (await must(admin, 'POST', `${v21}/flavors`, { flavor: order })).flavor.id;
}

/** Its disk is empty, so nothing runs in it but the firmware. Resolves when its machine runs. */
async function makeServer(world: World): Promise<string> {
  const { must, sessions } = world;
  const disk = { source_type: 'blank', destination_type: 'volume', volume_size: 1, boot_index: 0, delete_on_termination: true };
  const server = { name: newName('server'), flavorRef: await flavorOf(world, {}), networks: 'none', block_device_mapping_v2: [disk] };
  const { id } = (await must(sessions.member, 'POST', `${v21}/servers`, { server })).server;
  for (;;) {
    const { status }: Answer = (await must(sessions.member, 'GET', `${v21}/servers/${id}`)).server;
    if (status === 'ACTIVE') return id;
    if (status !== 'BUILD') throw new Error(`server ${id} came out as ${status}`);
    await pause(20);
  }
}

/** One for all who ask, but for who deletes it: each is a process. What it is for them to do with it is a question of its state. */
const sharedServers = new WeakMap<World, Promise<string>>();

function sharedServer(world: World): Promise<string> {
  const known = sharedServers.get(world);
  if (known !== undefined) return known;
  const making = makeServer(world);
  sharedServers.set(world, making);
  return making;
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
  server: sharedServer,
  'server-to-delete': makeServer,
  'server-key': async (world) => {
    const key = newName('key');
    await world.must(world.sessions.admin, 'POST', `${v21}/servers/${await sharedServer(world)}/metadata`, {
      metadata: { [key]: 'value' },
    });
    return key;
  },
  'server-tag': async (world) => {
    const tag = newName('tag');
    await world.must(world.sessions.admin, 'PUT', `${v21}/servers/${await sharedServer(world)}/tags/${tag}`);
    return tag;
  },
  'server-request': async (world) => {
    const path = `${v21}/servers/${await sharedServer(world)}/os-instance-actions`;
    return (await world.must(world.sessions.member, 'GET', path)).instanceActions[0].request_id;
  },
  'volume-of-server': async (world) => {
    const volumeId = await made(world, 'volumes', 'volume', { size: 1 });
    const path = `${v21}/servers/${await sharedServer(world)}/os-volume_attachments`;
    await world.must(world.sessions.member, 'POST', path, { volumeAttachment: { volumeId } });
    return volumeId;
  },
};
