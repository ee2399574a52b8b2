/** Which endpoints a project has in its catalog: single ones, and groups of them by what they have in common. */
import { sql } from 'kysely';
import { notFound } from '../../lib/errors.ts';
import { type Database, isForeignKeyViolation, type StringMap } from '../database/service.ts';
import type { Endpoint } from './catalog-entities.ts';
import { inGroup } from './catalog-store.ts';
import { authoriseDirectory, type DirectoryAction } from './directory-policy.ts';
import { projectOf } from './directory-store.ts';
import type { Project } from './entities.ts';
import { createRecords, type Records } from './records.ts';
import { couldNotFind } from './refusals.ts';
import type { ValidToken } from './token.ts';

export interface EndpointGroup {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  /** Of `service_id`, `region_id` and `interface` those that count. */
  readonly filters: StringMap;
}

/** Projects and endpoints, or projects and groups of endpoints. */
export interface Association {
  add(asker: ValidToken, projectId: string, id: string): Promise<void>;
  /** Refuses with 404 when there is none. */
  check(asker: ValidToken, projectId: string, id: string): Promise<void>;
  remove(asker: ValidToken, projectId: string, id: string): Promise<void>;
  projects(asker: ValidToken, id: string): Promise<Project[]>;
}

export interface EndpointFilters {
  readonly groups: Records<EndpointGroup>;
  readonly ofEndpoints: Association;
  readonly ofGroups: Association;
  endpointsInGroup(asker: ValidToken, groupId: string): Promise<Endpoint[]>;
  /** Those chosen one by one, and those by groups. */
  endpointsOfProject(asker: ValidToken, projectId: string): Promise<Endpoint[]>;
  groupsOfProject(asker: ValidToken, projectId: string): Promise<EndpointGroup[]>;
}

const endpointColumns = sql`e.id, e.service_id AS "serviceId", e.interface, e.region_id AS "regionId", e.url, e.enabled, e.built_in AS "builtIn", e.extra`;

export function createEndpointFilters({ database }: { database: Database }): EndpointFilters {
  async function mustExist(kind: 'project' | 'endpoint' | 'endpoint_group', id: string): Promise<void> {
    const table = ({ project: 'projects', endpoint: 'endpoints', endpoint_group: 'endpoint_groups' } as const)[kind];
    const row = await database.sql.selectFrom(table).select('id').where('id', '=', id).executeTakeFirst();
    if (row === undefined) throw couldNotFind(kind, id);
  }

  function association(
    kind: 'endpoint' | 'endpoint_group',
    actions: Record<'add' | 'check' | 'remove' | 'projects', DirectoryAction>,
  ): Association {
    const table = sql.table(kind === 'endpoint' ? 'project_endpoints' : 'project_endpoint_groups');
    const column = sql.ref(kind === 'endpoint' ? 'endpoint_id' : 'endpoint_group_id');
    const missing = (projectId: string, id: string) => notFound(`Could not find ${kind} ${id} in project ${projectId}.`);

    return {
      async add(asker, projectId, id) {
        authoriseDirectory(asker, actions.add);
        await mustExist(kind, id);
        await mustExist('project', projectId);
        try {
          await sql`INSERT INTO ${table} (project_id, ${column}) VALUES (${projectId}, ${id}) ON CONFLICT DO NOTHING`.execute(database.sql);
        } catch (error) {
          // One of both went away meanwhile.
          if (isForeignKeyViolation(error)) throw missing(projectId, id);
          throw error;
        }
      },
      async check(asker, projectId, id) {
        authoriseDirectory(asker, actions.check);
        await mustExist(kind, id);
        await mustExist('project', projectId);
        const { rows } = await sql`SELECT 1 FROM ${table} WHERE project_id = ${projectId} AND ${column} = ${id}`.execute(database.sql);
        if (rows.length === 0) throw missing(projectId, id);
      },
      async remove(asker, projectId, id) {
        authoriseDirectory(asker, actions.remove);
        const { numAffectedRows } = await sql`DELETE FROM ${table} WHERE project_id = ${projectId} AND ${column} = ${id}`.execute(
          database.sql,
        );
        if (numAffectedRows === 0n) throw missing(projectId, id);
      },
      async projects(asker, id) {
        authoriseDirectory(asker, actions.projects);
        await mustExist(kind, id);
        const query = database.sql.selectFrom('projects').selectAll().orderBy('name');
        const rows = await query.where(sql<boolean>`id IN (SELECT project_id FROM ${table} WHERE ${column} = ${id})`).execute();
        return rows.map(projectOf);
      },
    };
  }

  return {
    groups: createRecords<EndpointGroup>(
      { database },
      {
        noun: 'endpoint_group',
        listAction: 'list_endpoint_groups',
        createAction: 'create_endpoint_group',
        table: 'endpoint_groups',
        columns: { id: 'id', name: 'name', description: 'description', filters: 'filters' },
      },
    ),
    ofEndpoints: association('endpoint', {
      add: 'add_endpoint_to_project',
      check: 'check_endpoint_in_project',
      remove: 'remove_endpoint_from_project',
      projects: 'list_projects_for_endpoint',
    }),
    ofGroups: association('endpoint_group', {
      add: 'add_endpoint_group_to_project',
      check: 'get_endpoint_group_in_project',
      remove: 'remove_endpoint_group_from_project',
      projects: 'list_projects_associated_with_endpoint_group',
    }),
    async endpointsInGroup(asker, groupId) {
      authoriseDirectory(asker, 'list_endpoints_associated_with_endpoint_group');
      await mustExist('endpoint_group', groupId);
      const { rows } = await sql<Endpoint>`
        SELECT ${endpointColumns} FROM endpoint_groups g JOIN endpoints e ON ${inGroup} WHERE g.id = ${groupId} ORDER BY e.id
      `.execute(database.sql);
      return rows;
    },
    async endpointsOfProject(asker, projectId) {
      authoriseDirectory(asker, 'list_endpoints_for_project');
      await mustExist('project', projectId);
      const { rows } = await sql<Endpoint>`
        SELECT ${endpointColumns} FROM endpoints e
         WHERE e.id IN (SELECT endpoint_id FROM project_endpoints WHERE project_id = ${projectId})
            OR EXISTS (SELECT FROM project_endpoint_groups pg JOIN endpoint_groups g ON g.id = pg.endpoint_group_id
                        WHERE pg.project_id = ${projectId} AND ${inGroup})
         ORDER BY e.id
      `.execute(database.sql);
      return rows;
    },
    async groupsOfProject(asker, projectId) {
      authoriseDirectory(asker, 'list_endpoint_groups_for_project');
      await mustExist('project', projectId);
      const { rows } = await sql<EndpointGroup>`
        SELECT g.id, g.name, g.description, g.filters FROM endpoint_groups g
          JOIN project_endpoint_groups pg ON pg.endpoint_group_id = g.id
         WHERE pg.project_id = ${projectId} ORDER BY g.id
      `.execute(database.sql);
      return rows;
    },
  };
}
