/** The SQL of QoS specs. Which types have them is in the types' own rows. */
import { sql } from 'kysely';
import { type ListQuery, listSql } from '../database/lists.ts';
import { json, type StringMap } from '../database/service.ts';
import { type QosColumn, type QosConsumer, type QosSpecs, qosColumns } from './contract.ts';
import type { Queries } from './store.ts';

const fields = sql.raw('id, name, consumer, specs');

export async function listQos(db: Queries, list: ListQuery<QosColumn>): Promise<QosSpecs[]> {
  const { page } = listSql('qos_specs', qosColumns, list);
  return (await sql<QosSpecs>`SELECT ${fields} FROM qos_specs ${page}`.execute(db)).rows;
}

export async function findQos(db: Queries, id: string): Promise<QosSpecs | undefined> {
  return (await sql<QosSpecs>`SELECT ${fields} FROM qos_specs WHERE id = ${id}`.execute(db)).rows[0];
}

export async function lockQos(db: Queries, id: string): Promise<QosSpecs | undefined> {
  return (await sql<QosSpecs>`SELECT ${fields} FROM qos_specs WHERE id = ${id} FOR UPDATE`.execute(db)).rows[0];
}

export async function insertQos(db: Queries, { id, name, consumer, specs }: QosSpecs): Promise<void> {
  await db
    .insertInto('qos_specs')
    .values({ id, name, consumer, specs: json(specs) })
    .execute();
}

export async function updateQos(db: Queries, id: string, changes: { consumer?: QosConsumer; specs?: StringMap }): Promise<void> {
  await db
    .updateTable('qos_specs')
    .set({
      ...(changes.consumer !== undefined && { consumer: changes.consumer }),
      ...(changes.specs !== undefined && { specs: json(changes.specs) }),
      updated_at: sql<string>`clock_timestamp()`,
    })
    .where('id', '=', id)
    .execute();
}

export async function deleteQos(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('qos_specs').where('id', '=', id).execute();
}

export async function typesWithQos(db: Queries, id: string): Promise<{ id: string; name: string }[]> {
  return await db.selectFrom('volume_types').select(['id', 'name']).where('qos_specs_id', '=', id).orderBy('name').execute();
}

/** `typeId` left out: from every type that has them. */
export async function dropQosFromTypes(db: Queries, id: string, typeId?: string): Promise<void> {
  const all = db.updateTable('volume_types').set({ qos_specs_id: null }).where('qos_specs_id', '=', id);
  await (typeId === undefined ? all : all.where('id', '=', typeId)).execute();
}
