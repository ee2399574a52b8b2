/** The SQL of the catalog as tokens show it, and of the part of it that is built in. */
import { type Kysely, sql } from 'kysely';
import { json, type Schema, type Tx } from '../database/service.ts';
import type { BuiltInCatalog, CatalogEntry } from './catalog-entities.ts';

type Db = Kysely<Schema>;

/** Whether an endpoint group (`g`) has an endpoint (`e`) in it. */
export const inGroup = sql<boolean>`
  (g.filters ->> 'service_id' IS NULL OR g.filters ->> 'service_id' = e.service_id)
  AND (g.filters ->> 'region_id' IS NULL OR g.filters ->> 'region_id' = e.region_id)
  AND (g.filters ->> 'interface' IS NULL OR g.filters ->> 'interface' = e.interface)`;

/** A project for which endpoints were chosen has those only. */
export async function listCatalog(db: Db, projectId: string | null): Promise<CatalogEntry[]> {
  const { rows } = await sql<CatalogEntry>`
    WITH chosen AS (
      SELECT endpoint_id AS id FROM project_endpoints WHERE project_id = ${projectId}
      UNION
      SELECT e.id FROM project_endpoint_groups pg JOIN endpoint_groups g ON g.id = pg.endpoint_group_id JOIN endpoints e ON ${inGroup}
       WHERE pg.project_id = ${projectId}
    )
    SELECT s.id AS "serviceId", s.type, s.name, e.id AS "endpointId", e.interface, e.region_id AS "regionId", e.url, e.built_in AS "builtIn"
      FROM services s JOIN endpoints e ON e.service_id = s.id
     WHERE s.enabled AND e.enabled AND (NOT EXISTS (SELECT FROM chosen) OR e.id IN (SELECT id FROM chosen))
     ORDER BY s.built_in DESC, s.type, s.id, e.built_in DESC, e.interface DESC, e.id
  `.execute(db);
  return rows;
}

/** Makes the built-in rows what they have to be, and removes those of earlier versions. */
export async function writeBuiltIn({ sql: db }: Tx, { regions, services, endpoints }: BuiltInCatalog): Promise<void> {
  for (const { id, description, extra } of regions) {
    const values = { description, built_in: true };
    await db
      .insertInto('regions')
      .values({ id, ...values, extra: json(extra) })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(values))
      .execute();
  }
  for (const { id, type, name, description } of services) {
    const values = { type, name, description, enabled: true, built_in: true };
    await db
      .insertInto('services')
      .values({ id, ...values })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(values))
      .execute();
  }
  for (const { id, serviceId, interface: face, regionId, url } of endpoints) {
    const values = { service_id: serviceId, interface: face, region_id: regionId, url, enabled: true, built_in: true };
    await db
      .insertInto('endpoints')
      .values({ id, ...values })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(values))
      .execute();
  }
  await db
    .deleteFrom('endpoints')
    .where('built_in', '=', true)
    .where('id', 'not in', ['', ...endpoints.map(({ id }) => id)])
    .execute();
  // What an operator hung on a service of an earlier version stays, and the service with it.
  await sql`
    UPDATE services SET built_in = false WHERE built_in AND NOT (id = ANY(${services.map(({ id }) => id)}::text[]))
  `.execute(db);
}
