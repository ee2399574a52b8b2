import { setTimeout as pause } from 'node:timers/promises';
import type { Maker } from './things.ts';
import { newName, type World } from './world.ts';

const v2 = '/image/v2';
const binary = { 'content-type': 'application/octet-stream' };

async function makeImage({ must, sessions }: World, who: 'member' | 'admin', attributes: object = {}): Promise<string> {
  const body = { name: newName('image'), disk_format: 'raw', container_format: 'bare', ...attributes };
  return (await must(sessions[who], 'POST', `${v2}/images`, body)).id;
}

async function withData(world: World, id: string, who: 'member' | 'admin' = 'member'): Promise<string> {
  await world.must(world.sessions[who], 'PUT', `${v2}/images/${id}/file`, 'bytes of an image'.padEnd(512), binary);
  return id;
}

async function staged(world: World): Promise<string> {
  const id = await makeImage(world, 'member');
  await world.must(world.sessions.member, 'PUT', `${v2}/images/${id}/stage`, 'bytes of an image'.padEnd(512), binary);
  return id;
}

async function makeNamespace({ must, sessions }: World, attributes: object): Promise<string> {
  const namespace = newName('namespace');
  const property = { title: 'Property', type: 'string' };
  await must(sessions.admin, 'POST', `${v2}/metadefs/namespaces`, {
    namespace,
    objects: [{ name: 'object' }],
    properties: { property },
    tags: [{ name: 'tag' }],
    resource_type_associations: [{ name: 'OS::Test::Type' }],
    ...attributes,
  });
  return namespace;
}

export const imageThings: Readonly<Record<string, Maker>> = {
  image: async (world) => withData(world, await makeImage(world, 'member')),
  'queued-image': (world) => makeImage(world, 'member'),
  'deactivated-image': async (world) => {
    const id = await withData(world, await makeImage(world, 'member'));
    await world.must(world.sessions.member, 'POST', `${v2}/images/${id}/actions/deactivate`);
    return id;
  },
  'private-image': async (world) => withData(world, await makeImage(world, 'member', { visibility: 'private' })),
  'community-image': async (world) => withData(world, await makeImage(world, 'member', { visibility: 'community' })),
  /** Of the admin's project. */
  'public-image': async (world) => withData(world, await makeImage(world, 'admin', { visibility: 'public' }), 'admin'),
  /** With `{other-project}`. */
  'shared-image': async (world, need) => {
    const id = await withData(world, await makeImage(world, 'member'));
    await world.must(world.sessions.member, 'POST', `${v2}/images/${id}/members`, { member: await need('other-project') });
    return id;
  },
  'tagged-image': async (world) => makeImage(world, 'member', { tags: ['here'] }),
  'staged-image': staged,
  'imported-image': async (world) => {
    const id = await staged(world);
    const { must, sessions } = world;
    await must(sessions.member, 'POST', `${v2}/images/${id}/import`, { method: { name: 'glance-direct' } });
    while ((await must(sessions.member, 'GET', `${v2}/images/${id}`)).status !== 'active') await pause(20);
    return id;
  },
  task: async ({ must, sessions }, need) => {
    const { tasks } = await must(sessions.member, 'GET', `${v2}/images/${await need('imported-image')}/tasks`);
    return tasks[0].id;
  },
  /** For everybody to read. */
  namespace: (world) => makeNamespace(world, { visibility: 'public' }),
  /** Of the project of the reader and the member. */
  'private-namespace': (world) => makeNamespace(world, { visibility: 'private', owner: world.sessions.member.projectId }),
};
