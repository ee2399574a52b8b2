/** Groups of volumes through the public API. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api } from './api.ts';

/** Makes an empty group that volumes of the default type may join. Returns its id. `name` is of no other group type yet. */
export async function makeGroup(api: Api, name: string): Promise<string> {
  const { group_type: type } = await api.volume('POST', '/group_types', { group_type: { name } });
  const order = { group_type: type.id, volume_types: ['__DEFAULT__'] };
  const { group } = await api.volume('POST', '/groups', { group: { name: 'members', ...order } });
  return group.id;
}

/** Returns the id of a group snapshot once it is available. */
export async function snapshotGroup(api: Api, groupId: string): Promise<string> {
  const { group_snapshot: snapshot } = await api.volume('POST', '/group_snapshots', { group_snapshot: { group_id: groupId } });
  await untilStatus(api, 'group_snapshot', snapshot.id, 'available');
  return snapshot.id;
}

/** Throws when it takes on another status than being created. */
export async function untilStatus(api: Api, kind: 'group' | 'group_snapshot', id: string, wanted: string): Promise<void> {
  for (;;) {
    const { status } = (await api.volume('GET', `/${kind}s/${id}`))[kind];
    if (status === wanted) return;
    if (status !== 'creating') throw new Error(`${kind} ${id} is ${status}, not ${wanted}`);
    await sleep(20);
  }
}
