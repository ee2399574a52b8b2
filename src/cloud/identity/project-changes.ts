/** Changing a project, and its tags. */
import { badRequest, forbidden } from '../../lib/errors.ts';
import type { Database, JsonMap, Tx } from '../database/service.ts';
import { listProjectsAbove, listProjectsBelow, lockProject, updateProject } from './directory-store.ts';
import type { Project } from './entities.ts';
import { couldNotFind, immutable } from './refusals.ts';
import { deleteTokensOfProject } from './token-store.ts';

export interface ProjectChanges {
  readonly name?: string | undefined;
  readonly domainId?: string | undefined;
  readonly parentId?: string | undefined;
  readonly isDomain?: boolean | undefined;
  readonly description?: string | undefined;
  readonly enabled?: boolean | undefined;
  readonly immutable?: boolean | undefined;
  /** Merged into what is there. */
  readonly extra: JsonMap;
}

export function changeProject(database: Database, id: string, changes: ProjectChanges): Promise<Project> {
  return database.transact(async (tx) => {
    const old = await lockProject(tx.sql, id);
    if (old === undefined) throw couldNotFind('project', id);
    refuseMoves(old, changes);
    if (old.immutable && changes.immutable !== false) throw immutable('update', 'project', id);
    const project: Project = {
      ...old,
      name: changes.name ?? old.name,
      description: changes.description ?? old.description,
      enabled: changes.enabled ?? old.enabled,
      immutable: changes.immutable ?? old.immutable,
      extra: { ...old.extra, ...changes.extra },
    };
    if (project.enabled !== old.enabled) await checkEnabled(tx, project);
    await updateProject(tx.sql, project);
    if (!project.enabled) await deleteTokensOfProject(tx.sql, id);
    return project;
  });
}

function refuseMoves(old: Project, changes: ProjectChanges): void {
  if (changes.isDomain === true) throw badRequest('Update of `is_domain` is not allowed.');
  if (changes.domainId !== undefined && changes.domainId !== old.domainId) throw badRequest('Cannot change Domain ID.');
  if (changes.parentId !== undefined && changes.parentId !== old.parentId) throw forbidden('Update of `parent_id` is not allowed.');
}

/** Nothing that is enabled lies below something that is not. */
async function checkEnabled(tx: Tx, project: Project): Promise<void> {
  if (project.enabled) {
    const above = await listProjectsAbove(tx.sql, project);
    if (above.every(({ enabled }) => enabled)) return;
    throw forbidden(`Cannot enable project ${project.id} since it has disabled parents`);
  }
  const below = await listProjectsBelow(tx.sql, project.id);
  if (below.some(({ enabled }) => enabled)) {
    throw forbidden(`Cannot disable project ${project.id} since its subtree contains enabled projects.`);
  }
}

/** Tags are kept among the attributes that nothing else reads. */
export function tagsOf({ extra: { tags } }: { readonly extra: JsonMap }): string[] {
  return Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string') : [];
}

/** Undefined from `change`: there is nothing to do. */
export function changeTags(database: Database, id: string, change: (tags: readonly string[]) => readonly string[]): Promise<string[]> {
  return database.transact(async (tx) => {
    const project = await lockProject(tx.sql, id);
    if (project === undefined) throw couldNotFind('project', id);
    if (project.immutable) throw immutable('update', 'project', id);
    const tags = [...new Set(change(tagsOf(project)))];
    await updateProject(tx.sql, { ...project, extra: { ...project.extra, tags } });
    return tags;
  });
}
