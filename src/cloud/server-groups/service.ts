/** Server groups: the use cases. A group stays while servers are in it, and they stay when it goes. */
import { badRequest, forbidden, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import type { Database } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise, canSee, projectOfList } from '../identity/policy.ts';
import type { ComputeQuotas } from '../quotas/contract.ts';
import type { GroupMembership, ServerGroup, ServerGroupListQuery, ServerGroupOrder } from './contract.ts';
import {
  countGroups,
  deleteGroup,
  deleteMember,
  findGroup,
  groupIdsOf,
  holdGroup,
  insertGroup,
  insertMember,
  listGroups,
} from './store.ts';

export type { GroupMembership, ServerGroup } from './contract.ts';

export interface ServerGroupsService {
  /** The oldest first. */
  list(caller: Caller, query: ServerGroupListQuery): Promise<ServerGroup[]>;
  get(caller: Caller, id: string): Promise<ServerGroup>;
  create(caller: Caller, order: ServerGroupOrder): Promise<ServerGroup>;
  delete(caller: Caller, id: string): Promise<void>;
  readonly membership: GroupMembership;
}

export interface ServerGroupsDeps {
  readonly database: Database;
  readonly quotas: Pick<ComputeQuotas, 'hasRoomFor'>;
}

const noGroup = (id: string) => notFound(`Instance group ${id} could not be found.`);

export function createServerGroups({ database, quotas }: ServerGroupsDeps): ServerGroupsService {
  const visible = async (caller: Caller, id: string): Promise<ServerGroup> => {
    const group = isUuid(id) ? await findGroup(database.sql, id) : undefined;
    if (group === undefined || !canSee(caller, group)) throw noGroup(id);
    return group;
  };

  return {
    async list(caller, { allProjects, ...page }) {
      authorise(caller, 'server_group:list', caller);
      return await listGroups(database.sql, projectOfList(caller, allProjects), page);
    },
    async get(caller, id) {
      const group = await visible(caller, id);
      authorise(caller, 'server_group:get', group);
      return group;
    },
    async create(caller, order) {
      authorise(caller, 'server_group:create', caller);
      const projectId = caller.projectId ?? '';
      const group: ServerGroup = { ...order, id: newId(), projectId, userId: caller.userId, members: [] };
      await database.transact(async (tx) => {
        const counting = { countedIn: projectId, count: () => countGroups(tx.sql, projectId) };
        if (!(await quotas.hasRoomFor(tx, 'server_groups', { projectId, userId: caller.userId }, counting))) {
          throw forbidden('Quota exceeded, too many server groups.');
        }
        await insertGroup(tx.sql, group);
      });
      return group;
    },
    async delete(caller, id) {
      authorise(caller, 'server_group:delete', await visible(caller, id));
      await deleteGroup(database.sql, id);
    },
    membership: {
      async join(tx, caller, groupId, serverId) {
        const group = isUuid(groupId) ? await holdGroup(tx.sql, groupId) : undefined;
        if (group === undefined || !canSee(caller, group)) throw badRequest(`Instance group ${groupId} could not be found.`);
        const owner = { projectId: group.projectId, userId: caller.userId };
        const counting = { countedIn: groupId, count: async () => (await findGroup(tx.sql, groupId))?.members.length ?? 0 };
        if (!(await quotas.hasRoomFor(tx, 'server_group_members', owner, counting))) {
          throw forbidden('Quota exceeded, too many servers in group');
        }
        await insertMember(tx.sql, groupId, serverId);
        return group;
      },
      leave: (tx, serverId) => deleteMember(tx.sql, serverId),
      groupsOf: groupIdsOf,
    },
  };
}
