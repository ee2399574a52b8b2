import { setTimeout as pause } from 'node:timers/promises';
import type { Answer } from '../support/api.ts';
import type { Maker, Need } from './things.ts';
import { newName, type World } from './world.ts';

const v3 = '/volume/v3';

/** Orders something as the member, and waits until it is there. */
export async function made({ must, sessions: { member } }: World, collection: string, noun: string, order: object): Promise<string> {
  const { id } = (await must(member, 'POST', `${v3}/${collection}`, { [noun]: { name: newName(noun), ...order } }))[noun];
  for (;;) {
    const { status }: Answer = (await must(member, 'GET', `${v3}/${collection}/${id}`))[noun];
    if (status === 'available') return id;
    if (status === 'error') throw new Error(`${noun} ${id} came out wrong`);
    await pause(10);
  }
}

/** Keys of transfers, which are told once. */
const transferKeys = new Map<string, string>();

const exportOf = async ({ must, sessions }: World, need: Need): Promise<Answer> =>
  (await must(sessions.admin, 'GET', `${v3}/backups/${await need('backup')}/export_record`))['backup-record'];

async function makeType({ must, sessions }: World, order: object = {}): Promise<string> {
  const extraSpecs = { 'RESKEY:availability_zones': 'nova', 'vendor:key': 'value' };
  const body = { volume_type: { name: newName('type'), extra_specs: extraSpecs, ...order } };
  return (await must(sessions.admin, 'POST', `${v3}/types`, body)).volume_type.id;
}

const types: Record<string, Maker> = {
  type: (world) => makeType(world),
  'private-type': (world) => makeType(world, { 'os-volume-type-access:is_public': false }),
  /** For the project of the reader and the member only. */
  'own-type': async (world, need) => {
    const id = await makeType(world, { 'os-volume-type-access:is_public': false });
    const body = { addProjectAccess: { project: await need('own-project') } };
    await world.must(world.sessions.admin, 'POST', `${v3}/types/${id}/action`, body);
    return id;
  },
  'encrypted-type': async (world) => {
    const id = await makeType(world);
    const body = { encryption: { provider: 'luks', control_location: 'front-end' } };
    await world.must(world.sessions.admin, 'POST', `${v3}/types/${id}/encryption`, body);
    return id;
  },
  encryption: async ({ must, sessions }, need) =>
    (await must(sessions.admin, 'GET', `${v3}/types/${await need('encrypted-type')}/encryption`)).encryption_id,
  qos: async ({ must, sessions }) =>
    (await must(sessions.admin, 'POST', `${v3}/qos-specs`, { qos_specs: { name: newName('qos'), key: 'value' } })).qos_specs.id,
  'project-with-default-type': async ({ must, sessions }, need) => {
    const project = await need('project');
    await must(sessions.admin, 'PUT', `${v3}/default-types/${project}`, { default_type: { volume_type: await need('type') } });
    return project;
  },
  'group-type': async ({ must, sessions }) => {
    const body = { group_type: { name: newName('type'), group_specs: { key: 'value' } } };
    return (await must(sessions.admin, 'POST', `${v3}/group_types`, body)).group_type.id;
  },
};

export const blockStorageThings: Readonly<Record<string, Maker>> = {
  ...types,
  volume: (world) => made(world, 'volumes', 'volume', { size: 1, metadata: { key: 'value' } }),
  'image-volume': async (world) => {
    const id = await made(world, 'volumes', 'volume', { size: 1 });
    const body = { 'os-set_image_metadata': { metadata: { key: 'value' } } };
    await world.must(world.sessions.member, 'POST', `${v3}/volumes/${id}/action`, body);
    return id;
  },
  snapshot: async (world, need) => made(world, 'snapshots', 'snapshot', { volume_id: await need('volume'), metadata: { key: 'value' } }),
  backup: async (world, need) => made(world, 'backups', 'backup', { volume_id: await need('volume') }),
  'backup-service': async (world, need) => (await exportOf(world, need)).backup_service,
  'backup-url': async (world, need) => (await exportOf(world, need)).backup_url,
  /** As large as the backup's. */
  'restored-volume': (world) => made(world, 'volumes', 'volume', { size: 1 }),
  attachment: async (world) => {
    const body = { attachment: { volume_uuid: await made(world, 'volumes', 'volume', { size: 1 }) } };
    return (await world.must(world.sessions.member, 'POST', `${v3}/attachments`, body)).attachment.id;
  },
  transfer: async (world) => {
    const body = { transfer: { volume_id: await made(world, 'volumes', 'volume', { size: 1 }) } };
    const { transfer } = await world.must(world.sessions.member, 'POST', `${v3}/volume-transfers`, body);
    transferKeys.set(transfer.id, transfer.auth_key);
    return transfer.id;
  },
  'auth-key': async (_world, need) => transferKeys.get(await need('transfer')) ?? '',
  'volume-group': async (world, need) =>
    made(world, 'groups', 'group', { group_type: await need('group-type'), volume_types: [await need('type')] }),
  'group-snapshot': async (world, need) => {
    const group_id = await need('volume-group');
    const order = { size: 1, volume_type: await need('type'), group_id };
    await made(world, 'volumes', 'volume', order);
    return await made(world, 'group_snapshots', 'group_snapshot', { group_id });
  },
  /** Why a volume failed that no backend could hold. */
  message: async (world) => {
    const { must, sessions } = world;
    const type = await makeType(world, { extra_specs: { volume_backend_name: 'nowhere' } });
    const order = { volume: { size: 1, volume_type: type } };
    const { id } = (await must(sessions.member, 'POST', `${v3}/volumes`, order)).volume;
    for (;;) {
      const { messages } = await must(sessions.member, 'GET', `${v3}/messages?resource_uuid=${id}`);
      if (messages.length > 0) return messages[0].id;
      await pause(10);
    }
  },
  job: async ({ must, sessions }, need) =>
    (await must(sessions.member, 'GET', `/api/v1/jobs?subject_id=${await need('volume')}`)).jobs[0].id,
  'disk-check': async ({ must, sessions }) => (await must(sessions.admin, 'POST', '/api/v1/disks/check', {})).job.id,
};
