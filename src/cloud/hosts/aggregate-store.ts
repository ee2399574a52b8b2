/** The SQL of host aggregates. */
import { type Kysely, sql } from 'kysely';
import { json, type Schema, type StringMap, type Timestamp } from '../database/service.ts';

type Queries = Kysely<Schema>;

/** Hosts that operators see as one. With a zone, its hosts are in that zone. */
export interface Aggregate {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly availabilityZone: string | null;
  readonly hosts: readonly string[];
  /** Without the zone, which the wire shows among it. */
  readonly metadata: StringMap;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp | null;
}

export type AggregateChanges = Partial<Pick<Aggregate, 'name' | 'availabilityZone' | 'hosts' | 'metadata'>>;

const fields = [
  'id',
  'uuid',
  'name',
  'availability_zone as availabilityZone',
  'hosts',
  'metadata',
  'created_at as createdAt',
  'updated_at as updatedAt',
] as const;

export async function listAggregates(db: Queries): Promise<Aggregate[]> {
  return await db.selectFrom('host_aggregates').select(fields).orderBy('id').execute();
}

export async function findAggregate(db: Queries, id: number): Promise<Aggregate | undefined> {
  return await db.selectFrom('host_aggregates').select(fields).where('id', '=', id).executeTakeFirst();
}

/** Nobody else changes any of them until the transaction ends: which zone a host is in follows from all of them together. */
export async function lockAggregates(db: Queries): Promise<void> {
  await sql`LOCK TABLE host_aggregates IN SHARE ROW EXCLUSIVE MODE`.execute(db);
}

export async function insertAggregate(
  db: Queries,
  order: { readonly uuid: string; readonly name: string; readonly availabilityZone: string | null },
): Promise<Aggregate> {
  const { uuid, name, availabilityZone } = order;
  const values = { uuid, name, availability_zone: availabilityZone };
  return await db.insertInto('host_aggregates').values(values).returning(fields).executeTakeFirstOrThrow();
}

export async function updateAggregate(db: Queries, id: number, changes: AggregateChanges): Promise<Aggregate> {
  return await db
    .updateTable('host_aggregates')
    .set({
      ...(changes.name !== undefined && { name: changes.name }),
      ...(changes.availabilityZone !== undefined && { availability_zone: changes.availabilityZone }),
      ...(changes.hosts !== undefined && { hosts: [...changes.hosts] }),
      ...(changes.metadata !== undefined && { metadata: json(changes.metadata) }),
      updated_at: sql<string>`clock_timestamp()`,
    })
    .where('id', '=', id)
    .returning(fields)
    .executeTakeFirstOrThrow();
}

export async function deleteAggregate(db: Queries, id: number): Promise<void> {
  await db.deleteFrom('host_aggregates').where('id', '=', id).execute();
}

/** Undefined: the aggregates put it into none. */
export async function zoneOf(db: Queries, host: string): Promise<string | undefined> {
  const { rows } = await sql<{ zone: string }>`
    SELECT availability_zone AS zone FROM host_aggregates
     WHERE ${host} = ANY(hosts) AND availability_zone IS NOT NULL ORDER BY id LIMIT 1`.execute(db);
  return rows[0]?.zone;
}
