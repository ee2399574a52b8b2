/**
 * Limits that services look up here: what a project or a domain may have of a resource of a service, and what everybody else may. Identity keeps
 * them and enforces nothing (Keystone's `flat` model). A limit needs the registered one that it departs from, and that cannot change while one does.
 */
import { sql } from 'kysely';
import { forbidden } from '../../lib/errors.ts';
import type { Database, Tx } from '../database/service.ts';
import { authoriseDirectory, isAllowedInDirectory } from './directory-policy.ts';
import { createRecords, type Records, type Some } from './records.ts';
import { couldNotFind, expecting } from './refusals.ts';
import type { ValidToken } from './token.ts';

/** Of which resource of which service, and in which region if not in all. */
interface LimitedResource {
  readonly serviceId: string;
  readonly regionId: string | null;
  readonly resourceName: string;
}

/** What holds where no limit says another. */
export interface RegisteredLimit extends LimitedResource {
  readonly id: string;
  /** -1: without end. */
  readonly defaultLimit: number;
  readonly description: string | null;
}

export interface Limit extends LimitedResource {
  readonly id: string;
  /** One of the two. */
  readonly projectId: string | null;
  readonly domainId: string | null;
  readonly resourceLimit: number;
  readonly description: string | null;
}

export interface Limits {
  readonly registered: Records<RegisteredLimit>;
  readonly limits: Records<Limit>;
}

export function createLimits({ database }: { database: Database }): Limits {
  const registered = createRecords<RegisteredLimit>(
    { database },
    {
      noun: 'registered_limit',
      listAction: 'list_registered_limits',
      createAction: 'create_registered_limits',
      table: 'registered_limits',
      columns: {
        id: 'id',
        serviceId: 'service_id',
        regionId: 'region_id',
        resourceName: 'resource_name',
        defaultLimit: 'default_limit',
        description: 'description',
      },
      async check(tx, limit, old) {
        if (old !== undefined) await refuseIfReferred(tx, old);
        await checkResource(tx, limit, 'registered_limit');
      },
      beforeDelete: refuseIfReferred,
    },
  );
  const limits = createRecords<Limit>(
    { database },
    {
      noun: 'limit',
      listAction: 'list_limits',
      createAction: 'create_limits',
      table: 'limits',
      columns: {
        id: 'id',
        projectId: 'project_id',
        domainId: 'domain_id',
        serviceId: 'service_id',
        regionId: 'region_id',
        resourceName: 'resource_name',
        resourceLimit: 'resource_limit',
        description: 'description',
      },
      check: checkLimit,
    },
  );
  const isOf = (asker: ValidToken, { projectId, domainId }: Limit): boolean =>
    isAllowedInDirectory(asker, 'get_limit', { projectId: projectId ?? undefined, domainId: domainId ?? undefined });
  return {
    registered,
    limits: {
      ...limits,
      // Whoever may not see all sees those of the own project or domain.
      async list(asker, filter) {
        const found = await limits.list(asker, ofScope(asker, filter));
        return found.filter((limit) => isOf(asker, limit));
      },
      async get(asker, id) {
        const limit = (await limits.list(asker, { id }))[0];
        if (limit !== undefined && isOf(asker, limit)) return limit;
        // Nobody else learns whether there is one.
        authoriseDirectory(asker, 'get_limit');
        throw couldNotFind('limit', id);
      },
    },
  };
}

/** Asked for in the statement already, so that a project does not have those of all others read. */
export function ofScope(asker: ValidToken, filter: Some<Limit>): Some<Limit> {
  if (isAllowedInDirectory(asker, 'get_limit')) return filter;
  const { scope } = asker;
  if (scope.kind === 'project') return { ...filter, projectId: filter.projectId ?? scope.project.id };
  return scope.kind === 'domain' ? { ...filter, domainId: filter.domainId ?? scope.domain.id } : filter;
}

async function checkResource(tx: Tx, { serviceId, regionId }: LimitedResource, target: string): Promise<void> {
  const service = await tx.sql.selectFrom('services').select('id').where('id', '=', serviceId).executeTakeFirst();
  if (service === undefined) throw expecting('service_id', target);
  if (regionId === null) return;
  const region = await tx.sql.selectFrom('regions').select('id').where('id', '=', regionId).executeTakeFirst();
  if (region === undefined) throw expecting('region_id', target);
}

/** Under the lock of its registered limit, which cannot go meanwhile. */
async function checkLimit(tx: Tx, limit: Limit, old: Limit | undefined): Promise<void> {
  if (old !== undefined) return;
  const { projectId, domainId } = limit;
  const [table, id] = projectId === null ? (['domains', domainId ?? ''] as const) : (['projects', projectId] as const);
  const owner = await tx.sql.selectFrom(table).select('id').where('id', '=', id).executeTakeFirst();
  if (owner === undefined) throw expecting(projectId === null ? 'domain_id' : 'project_id', 'limit');
  const { rows } = await sql`SELECT id FROM registered_limits WHERE ${sameResource(limit)} FOR SHARE`.execute(tx.sql);
  if (rows.length === 0) throw forbidden('Unable to create a limit that has no corresponding registered limit.');
}

async function refuseIfReferred(tx: Tx, registered: RegisteredLimit): Promise<void> {
  const { rows } = await sql`SELECT id FROM limits WHERE ${sameResource(registered)} LIMIT 1`.execute(tx.sql);
  if (rows.length === 0) return;
  throw forbidden(`Unable to update or delete registered limit ${registered.id} because there are project limits associated with it.`);
}

const sameResource = ({ serviceId, regionId, resourceName }: LimitedResource) =>
  sql`service_id = ${serviceId} AND region_id IS NOT DISTINCT FROM ${regionId} AND resource_name = ${resourceName}`;
