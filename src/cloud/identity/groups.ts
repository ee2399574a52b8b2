import { badRequest, notFound } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type JsonMap } from '../database/service.ts';
import { authoriseDirectory, domainOfList } from './directory-policy.ts';
import { findDomain, findUser } from './directory-store.ts';
import { defaultDomainId, type Group, type User } from './entities.ts';
import {
  deleteGroup,
  deleteMember,
  findGroup,
  type GroupFilter,
  insertGroup,
  insertMember,
  isMember,
  listGroups,
  listGroupsOfUser,
  listMembers,
  lockGroup,
  updateGroup,
} from './group-store.ts';
import type { Some } from './records.ts';
import { couldNotFind, duplicate } from './refusals.ts';
import { endOverreachingCredentials } from './rights.ts';
import type { ValidToken } from './token.ts';

export interface NewGroup {
  readonly name: string;
  readonly domainId?: string | undefined;
  readonly description?: string | undefined;
  readonly extra: JsonMap;
}

export type GroupChanges = Some<NewGroup>;

/** Users who get roles together. Whoever leaves one loses what came through it with the next request. */
export interface Groups {
  list(asker: ValidToken, filter: GroupFilter): Promise<Group[]>;
  listOfUser(asker: ValidToken, userId: string): Promise<Group[]>;
  get(asker: ValidToken, id: string): Promise<Group>;
  create(asker: ValidToken, input: NewGroup): Promise<Group>;
  update(asker: ValidToken, id: string, changes: GroupChanges): Promise<Group>;
  delete(asker: ValidToken, id: string): Promise<void>;
  members(asker: ValidToken, id: string): Promise<User[]>;
  addMember(asker: ValidToken, id: string, userId: string): Promise<void>;
  /** Refuses with 404 when the user is no member. */
  checkMember(asker: ValidToken, id: string, userId: string): Promise<void>;
  removeMember(asker: ValidToken, id: string, userId: string): Promise<void>;
}

export function createGroups({ database }: { database: Database }): Groups {
  async function existing(id: string): Promise<Group> {
    const group = await findGroup(database.sql, id);
    if (group === undefined) throw couldNotFind('group', id);
    return group;
  }

  async function refuseUnknownUser(userId: string): Promise<void> {
    if ((await findUser(database.sql, userId)) === undefined) throw couldNotFind('user', userId);
  }

  const notIn = (id: string, userId: string) => notFound(`User '${userId}' not found in group '${id}'.`);

  return {
    async list(asker, filter) {
      const domainId = domainOfList(asker, filter.domainId);
      authoriseDirectory(asker, 'list_groups', { domainId });
      return listGroups(database.sql, { ...filter, domainId });
    },
    async listOfUser(asker, userId) {
      authoriseDirectory(asker, 'list_groups_for_user', { userId });
      await refuseUnknownUser(userId);
      return listGroupsOfUser(database.sql, userId);
    },
    async get(asker, id) {
      const group = await findGroup(database.sql, id);
      authoriseDirectory(asker, 'get_group', { domainId: group?.domainId });
      return existing(id);
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_group');
      const group: Group = {
        id: newHexId(),
        domainId: input.domainId ?? defaultDomainId,
        name: input.name,
        description: input.description ?? '',
        extra: input.extra,
      };
      if ((await findDomain(database.sql, group.domainId)) === undefined) throw couldNotFind('domain', group.domainId);
      await refuseDuplicate(group, () => insertGroup(database.sql, group));
      return group;
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_group');
      const old = await existing(id);
      return refuseDuplicate({ ...old, name: changes.name ?? old.name }, () => update(database, id, changes));
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_group');
      await database.transact(async (tx) => {
        if ((await lockGroup(tx.sql, id)) === undefined) throw couldNotFind('group', id);
        const members = await listMembers(tx.sql, id);
        await deleteGroup(tx.sql, id);
        await endOverreachingCredentials(
          tx.sql,
          members.map((user) => user.id),
        );
      });
    },
    async members(asker, id) {
      const group = await findGroup(database.sql, id);
      authoriseDirectory(asker, 'list_users_in_group', { domainId: group?.domainId });
      await existing(id);
      return listMembers(database.sql, id);
    },
    async addMember(asker, id, userId) {
      authoriseDirectory(asker, 'add_user_to_group');
      await existing(id);
      await refuseUnknownUser(userId);
      try {
        await insertMember(database.sql, id, userId);
      } catch (error) {
        // One of both went away meanwhile.
        if (isForeignKeyViolation(error)) throw notIn(id, userId);
        throw error;
      }
    },
    async checkMember(asker, id, userId) {
      authoriseDirectory(asker, 'check_user_in_group', { userId });
      await existing(id);
      await refuseUnknownUser(userId);
      if (!(await isMember(database.sql, id, userId))) throw notIn(id, userId);
    },
    async removeMember(asker, id, userId) {
      authoriseDirectory(asker, 'remove_user_from_group');
      await existing(id);
      await refuseUnknownUser(userId);
      await database.transact(async (tx) => {
        if (!(await deleteMember(tx.sql, id, userId))) throw notIn(id, userId);
        await endOverreachingCredentials(tx.sql, [userId]);
      });
    },
  };
}

function update(database: Database, id: string, changes: GroupChanges): Promise<Group> {
  return database.transact(async (tx) => {
    const old = await lockGroup(tx.sql, id);
    if (old === undefined) throw couldNotFind('group', id);
    if (changes.domainId !== undefined && changes.domainId !== old.domainId) throw badRequest('Cannot change Domain ID.');
    const group: Group = {
      ...old,
      name: changes.name ?? old.name,
      description: changes.description ?? old.description,
      extra: { ...old.extra, ...changes.extra },
    };
    await updateGroup(tx.sql, group);
    return group;
  });
}

async function refuseDuplicate<T>(group: Group, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('group', group.name, group.domainId);
    // The domain went away meanwhile.
    if (isForeignKeyViolation(error)) throw couldNotFind('domain', group.domainId);
    throw error;
  }
}
