import { badRequest } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, isUniqueViolation, type JsonMap } from '../database/service.ts';
import { authoriseDirectory, domainOfList } from './directory-policy.ts';
import { deleteProject, findDomain, findProject, insertProject, listProjects, lockProject, type ProjectFilter } from './directory-store.ts';
import type { Domains } from './domains.ts';
import { type AnyProject, defaultDomainId, type Project } from './entities.ts';
import { listProjectsOfUser } from './grant-store.ts';
import { changeProject, type ProjectChanges } from './project-changes.ts';
import { createProjectTree, type ProjectTree, placeFor, refuseParent } from './project-tree.ts';
import { couldNotFind, duplicate, immutable } from './refusals.ts';
import type { ValidToken } from './token.ts';

export interface NewProject {
  readonly name: string;
  readonly domainId?: string | undefined;
  readonly parentId?: string | undefined;
  /** Makes a domain: a project that has neither parent nor domain. */
  readonly isDomain?: boolean | undefined;
  readonly description?: string | undefined;
  readonly enabled?: boolean | undefined;
  readonly immutable?: boolean | undefined;
  readonly extra: JsonMap;
}

export interface Projects extends ProjectTree {
  /** Without the domains. */
  list(asker: ValidToken, filter: ProjectFilter): Promise<Project[]>;
  /** Where the user has a role. */
  listOfUser(asker: ValidToken, userId: string): Promise<Project[]>;
  get(asker: ValidToken, id: string): Promise<AnyProject>;
  create(asker: ValidToken, input: NewProject): Promise<AnyProject>;
  update(asker: ValidToken, id: string, changes: ProjectChanges): Promise<AnyProject>;
  delete(asker: ValidToken, id: string): Promise<void>;
}

export function createProjects({ database, domains }: { database: Database; domains: Domains }): Projects {
  const isDomain = async (id: string): Promise<boolean> =>
    (await findProject(database.sql, id)) === undefined && (await findDomain(database.sql, id)) !== undefined;

  return {
    ...createProjectTree({ database }),
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
      const domain = project === undefined ? await findDomain(database.sql, id) : undefined;
      authoriseDirectory(asker, 'get_project', { projectId: id, domainId: project?.domainId ?? id });
      const found = project ?? domain;
      if (found === undefined) throw couldNotFind('project', id);
      return found;
    },
    async create(asker, input) {
      authoriseDirectory(asker, 'create_project');
      if (input.isDomain !== true) return refuseDuplicate(input.name, input.domainId, () => create(database, input));
      if ((input.parentId ?? input.domainId) !== undefined) throw badRequest('only root projects are allowed to act as domains.');
      return domains.create(asker, input);
    },
    async update(asker, id, changes) {
      authoriseDirectory(asker, 'update_project');
      if (await isDomain(id)) return domains.update(asker, id, changes);
      return refuseDuplicate(changes.name, changes.domainId, () => changeProject(database, id, changes));
    },
    async delete(asker, id) {
      authoriseDirectory(asker, 'delete_project');
      if (await isDomain(id)) return domains.delete(asker, id);
      await database.transact(async (tx) => {
        const project = await lockProject(tx.sql, id);
        if (project === undefined) throw couldNotFind('project', id);
        if (project.immutable) throw immutable('delete', 'project', id);
        await refuseParent(tx, id);
        await deleteProject(tx.sql, id);
      });
    },
  };
}

function create(database: Database, input: NewProject): Promise<Project> {
  return database.transact(async (tx) => {
    const place = await placeFor(tx, input);
    const project: Project = {
      id: newHexId(),
      ...place,
      name: input.name,
      description: input.description ?? '',
      enabled: input.enabled ?? true,
      immutable: input.immutable ?? false,
      extra: input.extra,
    };
    await insertProject(tx.sql, project);
    return project;
  });
}

async function refuseDuplicate<T>(name: string | undefined, domainId: string | undefined, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isUniqueViolation(error)) throw duplicate('project', name ?? '', domainId ?? defaultDomainId);
    // The domain went away meanwhile.
    if (isForeignKeyViolation(error)) throw couldNotFind('domain', domainId ?? defaultDomainId);
    throw error;
  }
}
