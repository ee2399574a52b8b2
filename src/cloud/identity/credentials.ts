/**
 * Credentials that users keep here for other programs, those of EC2 above all. What a credential says is sealed. Each belongs to a user,
 * and nobody but an admin makes one for somebody else, or hands one over. When the key of the service was lost, so was what they say:
 * such a credential is as good as none, but that it can be deleted.
 */
import { createHash, randomBytes } from 'node:crypto';
import { badRequest, forbidden, ProductError } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation } from '../database/service.ts';
import { refuseRestricted } from './application-credentials.ts';
import { authoriseDirectory, isAllowedInDirectory } from './directory-policy.ts';
import { findProject, findUser } from './directory-store.ts';
import { couldNotFind, duplicate, expecting } from './refusals.ts';
import type { Sealing } from './sealing.ts';
import type { ValidToken } from './token.ts';

export interface Credential {
  readonly id: string;
  readonly userId: string;
  readonly projectId: string | null;
  readonly type: string;
  readonly blob: string;
}

export interface Ec2Credential {
  readonly access: string;
  readonly secret: string;
  readonly userId: string;
  readonly projectId: string | null;
}

export interface CredentialFilter {
  readonly userId?: string | undefined;
  readonly type?: string | undefined;
}

export interface Credentials {
  /** Those that the asker may see. */
  list(asker: ValidToken, filter: CredentialFilter): Promise<Credential[]>;
  get(asker: ValidToken, id: string): Promise<Credential>;
  create(asker: ValidToken, input: Omit<Credential, 'id'>): Promise<Credential>;
  update(
    asker: ValidToken,
    id: string,
    changes: { readonly [Key in Exclude<keyof Credential, 'id'>]?: Credential[Key] | undefined },
  ): Promise<Credential>;
  delete(asker: ValidToken, id: string): Promise<void>;
  readonly ec2: {
    list(asker: ValidToken, userId: string): Promise<Ec2Credential[]>;
    get(asker: ValidToken, userId: string, access: string): Promise<Ec2Credential>;
    create(asker: ValidToken, userId: string, projectId: string): Promise<Ec2Credential>;
    delete(asker: ValidToken, userId: string, access: string): Promise<void>;
  };
}

const ec2 = 'ec2';
const isEc2 = (type: string): boolean => type.toLowerCase() === ec2;
/** Two with one access key would be one to whoever logs in with it. */
const idOfAccess = (access: string): string => createHash('sha256').update(access).digest('hex');

/** As it lies in the database. */
type Sealed = Omit<Credential, 'blob'> & { readonly sealed: Buffer };

const sealedOf = (row: { id: string; user_id: string; project_id: string | null; type: string; blob: Buffer }): Sealed => ({
  id: row.id,
  userId: row.user_id,
  projectId: row.project_id,
  type: row.type,
  sealed: row.blob,
});

export function createCredentials({ database, sealing, log }: { database: Database; sealing: Sealing; log: Log }): Credentials {
  /** Undefined: nothing opens it any more. */
  function open({ sealed, ...credential }: Sealed): Credential | undefined {
    try {
      return { ...credential, blob: sealing.open(credential.id, sealed) };
    } catch (error) {
      // Without any key that is the answer to everything.
      if (error instanceof ProductError) throw error;
      log.warn({ credentialId: credential.id, error }, 'a credential does not open with the key of this service');
      return undefined;
    }
  }

  function opened(credential: Sealed, name: string): Credential {
    const found = open(credential);
    if (found === undefined) throw couldNotFind('credential', name);
    return found;
  }
  const rowOf = ({ id, userId, projectId, type, blob }: Credential) => ({
    id,
    user_id: userId,
    project_id: projectId,
    type,
    blob: sealing.seal(id, blob),
  });

  async function find(id: string): Promise<Sealed | undefined> {
    const row = await database.sql.selectFrom('credentials').selectAll().where('id', '=', id).executeTakeFirst();
    return row === undefined ? undefined : sealedOf(row);
  }

  /** Of those that the asker may see, those that open. */
  async function select(asker: ValidToken, { userId, type }: CredentialFilter): Promise<Credential[]> {
    let query = database.sql.selectFrom('credentials').selectAll().orderBy('id');
    if (userId !== undefined) query = query.where('user_id', '=', userId);
    if (type !== undefined) query = query.where('type', '=', type);
    const found = (await query.execute()).map(sealedOf).filter(({ projectId }) => isWithin(asker, projectId));
    return found.map(open).filter((credential) => credential !== undefined);
  }

  async function insert(asker: ValidToken, credential: Credential): Promise<Credential> {
    refuseOtherProject(asker, credential.projectId);
    await refuseUnknown(credential);
    try {
      await database.sql.insertInto('credentials').values(rowOf(credential)).execute();
    } catch (error) {
      if (isUniqueViolation(error)) throw duplicate('credential', credential.id);
      // The user or the project went away meanwhile.
      if (isForeignKeyViolation(error)) throw couldNotFind('user', credential.userId);
      throw error;
    }
    return credential;
  }

  async function refuseUnknown({ userId, projectId }: Pick<Credential, 'userId' | 'projectId'>): Promise<void> {
    if ((await findUser(database.sql, userId)) === undefined) throw couldNotFind('user', userId);
    if (projectId !== null && (await findProject(database.sql, projectId)) === undefined) throw couldNotFind('project', projectId);
  }

  async function ec2Of(userId: string, access: string): Promise<Sealed> {
    const credential = await find(idOfAccess(access));
    if (credential === undefined || !isEc2(credential.type) || credential.userId !== userId) throw couldNotFind('credential', access);
    return credential;
  }

  return {
    async list(asker, filter) {
      const own = filter.userId ?? (isAllowedInDirectory(asker, 'list_credentials') ? undefined : asker.user.id);
      authoriseDirectory(asker, 'list_credentials', { userId: own });
      return await select(asker, { ...filter, userId: own });
    },
    async get(asker, id) {
      const credential = await find(id);
      authoriseDirectory(asker, 'get_credential', { userId: credential?.userId });
      if (credential === undefined) throw couldNotFind('credential', id);
      refuseOtherProject(asker, credential.projectId);
      return opened(credential, id);
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_credential', { userId: input.userId });
      refuseRestricted(asker, 'create_credential');
      if (!isEc2(input.type)) return insert(asker, { ...input, id: newHexId() });
      if (input.projectId === null) throw expecting('project_id', 'credential');
      return insert(asker, { ...input, id: idOfAccess(ec2BlobOf(input.blob).access) });
    },
    async update(asker, id, changes) {
      const old = await find(id);
      authoriseDirectory(asker, 'update_credential', { userId: old?.userId });
      refuseRestricted(asker, 'update_credential');
      if (old === undefined) throw couldNotFind('credential', id);
      const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
      const credential: Credential = { ...opened(old, id), ...given };
      // Not into somebody else's hands, either.
      authoriseDirectory(asker, 'update_credential', { userId: credential.userId });
      for (const { projectId } of [old, credential]) refuseOtherProject(asker, projectId);
      if (isEc2(credential.type)) ec2BlobOf(credential.blob);
      await refuseUnknown(credential);
      const { id: _, ...values } = rowOf(credential);
      await database.sql.updateTable('credentials').set(values).where('id', '=', id).execute();
      return credential;
    },
    async delete(asker, id) {
      const old = await find(id);
      authoriseDirectory(asker, 'delete_credential', { userId: old?.userId });
      refuseRestricted(asker, 'delete_credential');
      if (old === undefined) throw couldNotFind('credential', id);
      refuseOtherProject(asker, old.projectId);
      await database.sql.deleteFrom('credentials').where('id', '=', id).execute();
    },
    ec2: {
      async list(asker, userId) {
        authoriseDirectory(asker, 'ec2_list_credentials', { userId });
        return (await select(asker, { userId, type: ec2 })).map(ec2View);
      },
      async get(asker, userId, access) {
        authoriseDirectory(asker, 'ec2_get_credential', { userId });
        const credential = await ec2Of(userId, access);
        refuseOtherProject(asker, credential.projectId);
        return ec2View(opened(credential, access));
      },
      async create(asker, userId, projectId) {
        authoriseDirectory(asker, 'ec2_create_credential', { userId });
        refuseRestricted(asker, 'ec2_create_credential');
        const [access, secret] = [newHexId(), randomBytes(32).toString('hex')];
        const blob = JSON.stringify({ access, secret, trust_id: null });
        return ec2View(await insert(asker, { id: idOfAccess(access), userId, projectId, type: ec2, blob }));
      },
      async delete(asker, userId, access) {
        authoriseDirectory(asker, 'ec2_delete_credential', { userId });
        refuseRestricted(asker, 'ec2_delete_credential');
        const { id, projectId } = await ec2Of(userId, access);
        refuseOtherProject(asker, projectId);
        await database.sql.deleteFrom('credentials').where('id', '=', id).execute();
      },
    },
  };
}

/** A token of an application credential stands for one project: it reaches nothing of the others. */
function isWithin({ applicationCredential, scope }: ValidToken, projectId: string | null): boolean {
  return applicationCredential === null || (scope.kind === 'project' && scope.project.id === projectId);
}

function refuseOtherProject(asker: ValidToken, projectId: string | null): void {
  if (!isWithin(asker, projectId)) throw forbidden('Credential project does not match the project scope of the delegated token');
}

function ec2BlobOf(blob: string): { readonly access: string; readonly secret: string } {
  let value: unknown;
  try {
    value = JSON.parse(blob);
  } catch (cause) {
    throw badRequest('Invalid blob in credential', cause);
  }
  const { access, secret = '' } = (value ?? {}) as { access?: unknown; secret?: unknown };
  if (typeof access !== 'string' || access === '') throw expecting('access', 'credential');
  if (typeof secret !== 'string') throw expecting('secret', 'credential');
  return { access, secret };
}

const ec2View = ({ userId, projectId, blob }: Credential): Ec2Credential => ({ ...ec2BlobOf(blob), userId, projectId });
