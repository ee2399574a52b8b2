import { badRequest, forbidden } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type JsonMap } from '../database/service.ts';
import { authoriseDirectory, domainOfList } from './directory-policy.ts';
import {
  deleteProject,
  findDomain,
  findProject,
  hasChildProjects,
  holdProject,
  insertProject,
  listProjects,
  lockProject,
  type ProjectFilter,
  updateProject,
} from './directory-store.ts';
import { defaultDomainId, type Project } from './entities.ts';
import { listProjectsOfUser } from './grant-store.ts';
import { couldNotFind, duplicate } from './refusals.ts';
import type { ValidToken } from './token.ts';
import { deleteTokensOfProject } from './token-store.ts';

export interface NewProject {
  readonly name: string;
  readonly domainId?: string | undefined;
  readonly parentId?: string | undefined;
  readonly description?: string | undefined;
  readonly enabled?: boolean | undefined;
  readonly extra: JsonMap;
}

export interface ProjectChanges {
  readonly name?: string | undefined;
  readonly domainId?: string | undefined;
  readonly parentId?: string | undefined;
  readonly description?: string | undefined;
  readonly enabled?: boolean | undefined;
  /** Merged into what is there. */
  readonly extra: JsonMap;
}

export interface Projects {
  list(asker: ValidToken, filter: ProjectFilter): Promise<Project[]>;
  /** Where the user has a role. */
  listOfUser(asker: ValidToken, userId: string): Promise<Project[]>;
  get(asker: ValidToken, id: string): Promise<Project>;
  create(asker: ValidToken, input: NewProject): Promise<Project>;
  update(asker: ValidToken, id: string, changes: ProjectChanges): Promise<Project>;
  delete(asker: ValidToken, id: string): Promise<void>;
}

export function createProjects({ database }: { database: Database }): Projects {
  return {
    async list(asker, filter) {
      const domainId = domainOfList(asker, filter.domainId);
      authoriseDirectory(asker, 'list_projects', { domainId });
      return listProjects(database.sql, { ...filter, domainId });
    },
    async listOfUser(asker, userId) {
      authoriseDirectory(asker, 'list_user_projects', { userId });
      return listProjectsOfUser(database.sql, userId);
    },
    async get(asker, id) {
      const project = await findProject(database.sql, id);
      authoriseDirectory(asker, 'get_project', { projectId: id, domainId: project?.domainId });
      if (project === undefined) throw couldNotFind('project', id);
      return project;
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_project');
      return refuseDuplicate(input.name, input.domainId, () => create(database, input));
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_project');
      return refuseDuplicate(changes.name, changes.domainId, () => update(database, id, changes));
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_project');
      await database.transact(async (tx) => {
        if ((await lockProject(tx.sql, id)) === undefined) throw couldNotFind('project', id);
        if (await hasChildProjects(tx.sql, id)) {
          throw forbidden(`Cannot delete the project ${id} since it is not a leaf in the hierarchy.`);
        }
        await deleteProject(tx.sql, id);
      });
    },
  };
}

function create(database: Database, input: NewProject): Promise<Project> {
  return database.transact(async (tx) => {
    // A domain as parent is the same as no parent.
    const parent = input.parentId === undefined ? undefined : await holdProject(tx.sql, input.parentId);
    const parentDomainId = parent?.domainId ?? input.parentId;
    const domainId = input.domainId ?? parentDomainId ?? defaultDomainId;
    if (parentDomainId !== undefined && parentDomainId !== domainId) {
      if (parent === undefined) throw couldNotFind('project', parentDomainId);
      throw badRequest(`Parent project must be in the same domain as the project: ${domainId}.`);
    }
    if ((await findDomain(tx.sql, domainId)) === undefined) {
      throw input.domainId === undefined ? couldNotFind('project', domainId) : couldNotFind('domain', domainId);
    }
    const project: Project = {
      id: newHexId(),
      domainId,
      parentId: parent?.id ?? domainId,
      name: input.name,
      description: input.description ?? '',
      enabled: input.enabled ?? true,
      extra: input.extra,
    };
    await insertProject(tx.sql, project);
    return project;
  });
}

function update(database: Database, id: string, changes: ProjectChanges): Promise<Project> {
  return database.transact(async (tx) => {
    const old = await lockProject(tx.sql, id);
    if (old === undefined) throw couldNotFind('project', id);
    if (changes.domainId !== undefined && changes.domainId !== old.domainId) throw badRequest('Cannot change Domain ID.');
    if (changes.parentId !== undefined && changes.parentId !== old.parentId) {
      throw forbidden('Update of `parent_id` is not allowed.');
    }
    const project: Project = {
      ...old,
      name: changes.name ?? old.name,
      description: changes.description ?? old.description,
      enabled: changes.enabled ?? old.enabled,
      extra: { ...old.extra, ...changes.extra },
    };
    await updateProject(tx.sql, project);
    if (!project.enabled) await deleteTokensOfProject(tx.sql, id);
    return project;
  });
}

async function refuseDuplicate(name: string | undefined, domainId: string | undefined, write: () => Promise<Project>): Promise<Project> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('project', name ?? '', domainId ?? defaultDomainId);
    // The domain went away meanwhile.
    if (isForeignKeyViolation(error)) throw couldNotFind('domain', domainId ?? defaultDomainId);
    throw error;
  }
}
