/** Group snapshots, of volumes that nobody uses and of connected ones. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from '../support/api.ts';
import { makeGroup, snapshotGroup, untilStatus } from '../support/groups.ts';
import { connect, mustHold } from '../support/scenario.ts';
import { type Scene, volumeWithData } from './scene.ts';

export const groupSnapshot: Scene = {
  name: 'group snapshot, a group made of it, and their deletion',
  hasHelpers: false,
  async prepare(api, folder) {
    const { groupId, members } = await groupWithData(api, folder);
    return {
      async operate(again) {
        const call = again.volume;
        const source = { 'create-from-src': { name: 'copy', group_snapshot_id: await snapshotGroup(again, groupId) } };
        const { group: copy } = await call('POST', '/groups/action', source);
        await untilStatus(again, 'group', copy.id, 'available');
        await deleteAllOf(call, groupId);
      },
      /** All parts or none; and every byte of the members. */
      async check(again) {
        const call = again.volume;
        await mustHaveAllPartsOrNone(call, members.length);
        await deleteAllOf(call, groupId);
        for (const { id, model } of members) await mustHold(again, id, model);
      },
    };
  },
};

/** The members are connected while it is made, and stay so. */
export const groupSnapshotLive: Scene = {
  name: 'group snapshot of connected volumes',
  hasHelpers: true,
  async prepare(api, folder) {
    const { groupId, members } = await groupWithData(api, folder);
    for (const { id } of members) await connect(api, id);
    return {
      operate: async (again) => void (await snapshotGroup(again, groupId)),
      async check(again) {
        await mustHaveAllPartsOrNone(again.volume, members.length);
        await deleteAllOf(again.volume, groupId);
        for (const { id, model } of members) {
          await mustHold(again, id, model);
          await connect(again, id);
        }
      },
    };
  },
};

type Call = Api['volume'];

async function groupWithData(api: Api, folder: string): Promise<{ groupId: string; members: { id: string; model: string }[] }> {
  const groupId = await makeGroup(api, `of ${folder}`);
  const members = [await volumeWithData(api, folder, 'first'), await volumeWithData(api, folder, 'second')];
  await api.volume('PUT', `/groups/${groupId}`, { group: { add_volumes: members.map(({ id }) => id).join(',') } });
  return { groupId, members };
}

async function mustHaveAllPartsOrNone(call: Call, memberCount: number): Promise<void> {
  for (const { id, status } of (await call('GET', '/group_snapshots/detail')).group_snapshots) {
    const { snapshots } = await call('GET', `/snapshots/detail?group_snapshot_id=${id}`);
    const parts = snapshots.map((part: { status: string }) => part.status);
    if (parts.length !== memberCount || parts.some((part: string) => part !== status)) {
      throw new Error(`group snapshot ${id} is ${status}, its parts are ${parts}`);
    }
  }
}

/** Group snapshots, then every group but one. */
async function deleteAllOf(call: Call, keptGroupId: string): Promise<void> {
  for (const { id } of (await call('GET', '/group_snapshots')).group_snapshots) await call('DELETE', `/group_snapshots/${id}`);
  while ((await call('GET', '/group_snapshots')).group_snapshots.length > 0) await sleep(20);
  const groupIds = async (): Promise<string[]> =>
    (await call('GET', '/groups')).groups.map(({ id }: { id: string }) => id).filter((id: string) => id !== keptGroupId);
  for (const id of await groupIds()) await call('POST', `/groups/${id}/action`, { delete: { 'delete-volumes': true } });
  while ((await groupIds()).length > 0) await sleep(20);
}
