/** Projects within projects: where a new one may stand, and what lies above and below. */
import { badRequest, forbidden } from '../../lib/errors.ts';
import type { Database, Tx } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { findDomain, findProject, hasChildProjects, holdProject, listProjectsAbove, listProjectsBelow } from './directory-store.ts';
import { defaultDomainId, type Project } from './entities.ts';
import { listProjectsOfUser } from './grant-store.ts';
import { changeTags, tagsOf } from './project-changes.ts';
import { couldNotFind } from './refusals.ts';
import type { ValidToken } from './token.ts';

export interface ProjectTree {
  /** Above the project, the nearest first; `seen`: only those where the asker has a role. */
  above(asker: ValidToken, id: string, which: 'all' | 'seen'): Promise<Project[]>;
  /** Below the project, parents before their children. */
  below(asker: ValidToken, id: string, which: 'all' | 'seen'): Promise<Project[]>;
  tags(asker: ValidToken, id: string): Promise<string[]>;
  setTags(asker: ValidToken, id: string, tags: readonly string[]): Promise<string[]>;
  /** Refuses with 404 when the project does not have it. */
  checkTag(asker: ValidToken, id: string, tag: string): Promise<void>;
  addTag(asker: ValidToken, id: string, tag: string): Promise<void>;
  removeTag(asker: ValidToken, id: string, tag: string): Promise<void>;
  removeTags(asker: ValidToken, id: string): Promise<void>;
}

/** Levels of projects below a domain. */
const depthMax = 5;
export const tagsMax = 80;

export function createProjectTree({ database }: { database: Database }): ProjectTree {
  async function visible(asker: ValidToken, id: string, action: 'get_project' | 'list_project_tags' | 'get_project_tag'): Promise<Project> {
    const project = await findProject(database.sql, id);
    authoriseDirectory(asker, action, { projectId: id, domainId: project?.domainId });
    if (project === undefined) throw couldNotFind('project', id);
    return project;
  }

  async function seen(asker: ValidToken, projects: readonly Project[]): Promise<Project[]> {
    const own = new Set((await listProjectsOfUser(database.sql, asker.user.id)).map(({ id }) => id));
    return projects.filter(({ id }) => own.has(id));
  }

  return {
    async above(asker, id, which) {
      const found = await listProjectsAbove(database.sql, await visible(asker, id, 'get_project'));
      return which === 'all' ? found : seen(asker, found);
    },
    async below(asker, id, which) {
      await visible(asker, id, 'get_project');
      const found = await listProjectsBelow(database.sql, id);
      return which === 'all' ? found : seen(asker, found);
    },
    tags: async (asker, id) => tagsOf(await visible(asker, id, 'list_project_tags')),
    async setTags(asker, id, tags) {
      authoriseDirectory(asker, 'update_project_tags');
      return changeTags(database, id, () => tags);
    },
    async checkTag(asker, id, tag) {
      if (!tagsOf(await visible(asker, id, 'get_project_tag')).includes(tag)) throw couldNotFind('project tag', tag);
    },
    async addTag(asker, id, tag) {
      authoriseDirectory(asker, 'create_project_tag');
      await changeTags(database, id, (tags) => {
        if (!tags.includes(tag) && tags.length >= tagsMax) throw badRequest(`A project has at most ${tagsMax} tags.`);
        return [...tags, tag];
      });
    },
    async removeTag(asker, id, tag) {
      authoriseDirectory(asker, 'delete_project_tag');
      await changeTags(database, id, (tags) => {
        if (!tags.includes(tag)) throw couldNotFind('project tag', tag);
        return tags.filter((one) => one !== tag);
      });
    },
    async removeTags(asker, id) {
      authoriseDirectory(asker, 'delete_project_tags');
      await changeTags(database, id, () => []);
    },
  };
}

/** The domain and the parent of a new project. The parent stays as it is until the transaction ends. */
export async function placeFor(
  tx: Tx,
  asked: { readonly domainId?: string | undefined; readonly parentId?: string | undefined },
): Promise<{ domainId: string; parentId: string }> {
  // A domain as parent is the same as no parent.
  const parent = asked.parentId === undefined ? undefined : await holdProject(tx.sql, asked.parentId);
  const parentDomainId = parent?.domainId ?? asked.parentId;
  const domainId = asked.domainId ?? parentDomainId ?? defaultDomainId;
  if (parentDomainId !== undefined && parentDomainId !== domainId) {
    if (parent === undefined) throw couldNotFind('project', parentDomainId);
    throw badRequest(
      `Cannot create project, since it specifies its domain_id ${domainId}, but specifies a parent in a different domain (${parentDomainId}).`,
    );
  }
  const domain = await findDomain(tx.sql, domainId);
  if (domain === undefined) throw asked.domainId === undefined ? couldNotFind('project', domainId) : couldNotFind('domain', domainId);
  const line = parent === undefined ? [] : [parent, ...(await listProjectsAbove(tx.sql, parent))];
  const disabled = [...line, domain].find(({ enabled }) => !enabled);
  if (disabled !== undefined) throw badRequest(`cannot create a project in a branch containing a disabled project: ${disabled.id}`);
  if (line.length >= depthMax) throw forbidden(`Max hierarchy depth reached for ${parent?.id} branch.`);
  return { domainId, parentId: parent?.id ?? domainId };
}

export async function refuseParent(tx: Tx, id: string): Promise<void> {
  if (!(await hasChildProjects(tx.sql, id))) return;
  throw forbidden(
    `Cannot delete the project ${id} since it is not a leaf in the hierarchy. Use the cascade option if you want to delete a whole subtree.`,
  );
}
