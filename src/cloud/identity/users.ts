import { badRequest, unauthorized } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type JsonMap } from '../database/service.ts';
import { authoriseDirectory, domainOfList } from './directory-policy.ts';
import {
  deleteUser,
  findDomain,
  findUser,
  forgetFailedLogins,
  insertUser,
  listUsers,
  lockPasswordHash,
  lockUser,
  type OwnedFilter,
  setPasswordHash,
  updateUser,
} from './directory-store.ts';
import { defaultDomainId, type User, type UserOptionChanges, type UserOptions } from './entities.ts';
import type { CheckPassword } from './lockout.ts';
import type { Passwords } from './passwords.ts';
import { couldNotFind, duplicate } from './refusals.ts';
import type { ValidToken } from './token.ts';
import { deleteTokensOfUser } from './token-store.ts';

export interface NewUser {
  readonly name: string;
  readonly domainId?: string | undefined;
  readonly enabled?: boolean | undefined;
  readonly defaultProjectId?: string | null | undefined;
  /** Null: cannot log in by password. */
  readonly password?: string | null | undefined;
  readonly options?: UserOptionChanges | undefined;
  readonly extra: JsonMap;
}

export interface UserChanges extends Omit<NewUser, 'name'> {
  readonly name?: string | undefined;
}

export interface Users {
  list(asker: ValidToken, filter: OwnedFilter): Promise<User[]>;
  get(asker: ValidToken, id: string): Promise<User>;
  create(asker: ValidToken, input: NewUser): Promise<User>;
  update(asker: ValidToken, id: string, changes: UserChanges): Promise<User>;
  /** By whoever knows the old password; ends all tokens of the user. Refused for those who are locked out, or whose password is locked. */
  changePassword(id: string, oldPassword: string, newPassword: string): Promise<void>;
  delete(asker: ValidToken, id: string): Promise<void>;
}

export interface UsersDeps {
  readonly database: Database;
  readonly passwords: Passwords;
  readonly checkPassword: CheckPassword;
}

export function createUsers({ database, passwords, checkPassword }: UsersDeps): Users {
  const hashOf = async (password: string | null | undefined): Promise<string | null> =>
    password === null || password === undefined ? null : passwords.hash(password);

  return {
    async list(asker, filter) {
      const domainId = domainOfList(asker, filter.domainId);
      authoriseDirectory(asker, 'list_users', { domainId });
      return listUsers(database.sql, { ...filter, domainId });
    },
    async get(asker, id) {
      const user = await findUser(database.sql, id);
      authoriseDirectory(asker, 'get_user', { userId: id, domainId: user?.domainId });
      if (user === undefined) throw couldNotFind('user', id);
      return user;
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_user');
      const user = newUser(input);
      if ((await findDomain(database.sql, user.domainId)) === undefined) throw couldNotFind('domain', user.domainId);
      const passwordHash = await hashOf(input.password);
      await refuseDuplicate(user, () => insertUser(database.sql, user, passwordHash));
      return user;
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_user');
      const old = await findUser(database.sql, id);
      if (old === undefined) throw couldNotFind('user', id);
      const passwordHash = await hashOf(changes.password);
      return refuseDuplicate({ ...old, ...(changes.name === undefined ? {} : { name: changes.name }) }, () =>
        update(database, id, changes, passwordHash),
      );
    },
    async changePassword(id, oldPassword, newPassword) {
      const login = await checkPassword({ id }, oldPassword);
      if (login === undefined || !login.enabled) throw unauthorized('The old password is wrong.');
      if (login.options.lock_password === true) throw badRequest(passwordLocked);
      const newHash = await passwords.hash(newPassword);
      await database.transact(async (tx) => {
        await lockUser(tx.sql, id);
        if ((await lockPasswordHash(tx.sql, id)) !== login.passwordHash) throw unauthorized('The password was changed meanwhile.');
        await setPasswordHash(tx.sql, id, newHash);
        await deleteTokensOfUser(tx.sql, id);
      });
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_user');
      if (!(await deleteUser(database.sql, id))) throw couldNotFind('user', id);
    },
  };
}

const passwordLocked =
  'You cannot change your password at this time due to password policy disallowing password changes. Please contact your administrator to reset your password.';

function newUser(input: NewUser): User {
  return {
    id: newHexId(),
    domainId: input.domainId ?? defaultDomainId,
    name: input.name,
    enabled: input.enabled ?? true,
    defaultProjectId: input.defaultProjectId ?? null,
    options: optionsWith({}, input.options),
    extra: input.extra,
  };
}

function optionsWith(old: UserOptions, changes: UserOptionChanges = {}): UserOptions {
  return Object.fromEntries(Object.entries({ ...old, ...changes }).filter(([, value]) => value !== null));
}

function update(database: Database, id: string, changes: UserChanges, passwordHash: string | null): Promise<User> {
  return database.transact(async (tx) => {
    const old = await lockUser(tx.sql, id);
    if (old === undefined) throw couldNotFind('user', id);
    if (changes.domainId !== undefined && changes.domainId !== old.domainId) throw badRequest('Cannot change Domain ID.');
    const user: User = {
      ...old,
      name: changes.name ?? old.name,
      enabled: changes.enabled ?? old.enabled,
      defaultProjectId: changes.defaultProjectId === undefined ? old.defaultProjectId : changes.defaultProjectId,
      options: optionsWith(old.options, changes.options),
      extra: { ...old.extra, ...changes.extra },
    };
    await updateUser(tx.sql, user);
    if (changes.password !== undefined) await setPasswordHash(tx.sql, id, passwordHash);
    if (changes.password !== undefined || changes.enabled === true) await forgetFailedLogins(tx.sql, id);
    if (changes.password !== undefined || !user.enabled) await deleteTokensOfUser(tx.sql, id);
    return user;
  });
}

async function refuseDuplicate<T>(user: User, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('user', user.name, user.domainId);
    // The domain went away meanwhile.
    if (isForeignKeyViolation(error)) throw couldNotFind('domain', user.domainId);
    throw error;
  }
}
