/** The rows of a merge: may it begin, that it has begun, and that it is done. */
import { sql as query } from 'kysely';
import { isReader } from './holders.ts';
import type { Journals } from './journal.ts';
import { childrenOf, findLayer, type LayerRow } from './layer-store.ts';
import { lockTree, type Sql } from './locks.ts';

export interface MergePlan {
  readonly older: LayerRow;
  readonly younger: LayerRow;
  readonly child: LayerRow;
  /** The volume whose server has all three open, and nobody else has; null: nobody has them open. */
  readonly server: string | null;
}

/** Points on layers that merge cannot have their journals computed any more. */
export async function ensureJournalsOn({ older, younger }: MergePlan, sql: Sql, journals: Journals): Promise<void> {
  const unknown = await sql
    .selectFrom('points')
    .select('id')
    .where('layer_id', 'in', [older.id, younger.id])
    .where('journal', 'is', null)
    .execute();
  for (const { id } of unknown) await journals.ensure(id);
}

/** False when the rows have changed since the plan, or when somebody else needs the chain. */
export async function mark(sql: Sql, plan: MergePlan): Promise<boolean> {
  return await sql.transaction().execute(async (tx) => {
    await lockTree(tx, 'alone');
    if (!(await isStillSo(tx, plan)) || (await isInUse(tx, plan))) return false;
    await tx.updateTable('layers').set({ state: 'merging' }).where('id', '=', plan.younger.id).execute();
    await tx.updateTable('layers').set({ allocated_bytes: null }).where('id', '=', plan.older.id).execute();
    await tx.updateTable('points').set({ layer_id: null }).where('layer_id', '=', plan.older.id).execute();
    return true;
  });
}

/** For a merge that is known to work no more. */
export async function unmark(sql: Sql, { older, younger, child }: MergePlan): Promise<void> {
  await sql.updateTable('layers').set({ allocated_bytes: null }).where('id', 'in', [older.id, child.id]).execute();
  await sql.updateTable('layers').set({ state: 'frozen' }).where('id', '=', younger.id).where('state', '=', 'merging').execute();
}

async function isStillSo(tx: Sql, { older, younger, child }: MergePlan): Promise<boolean> {
  const [bottom, middle, aboveOlder, aboveYounger] = [
    await findLayer(tx, older.id),
    await findLayer(tx, younger.id),
    await childrenOf(tx, older.id),
    await childrenOf(tx, younger.id),
  ];
  return (
    bottom?.state === 'frozen' &&
    (middle?.state === 'frozen' || middle?.state === 'merging') &&
    aboveOlder.length === 1 &&
    aboveOlder[0]?.id === younger.id &&
    aboveYounger.length === 1 &&
    aboveYounger[0]?.id === child.id &&
    aboveYounger[0].state === child.state
  );
}

/** A held point on either layer, a reader anywhere above, or another server than the one that shall merge. */
async function isInUse(tx: Sql, { older, younger, server }: MergePlan): Promise<boolean> {
  const { rows } = await query<{ inUse: boolean }>`
    WITH RECURSIVE above AS (
      SELECT id FROM layers WHERE id = ${older.id}
      UNION ALL SELECT layers.id FROM layers JOIN above ON parent_id = above.id
    ), held AS (
      SELECT layer_id, ${isReader} AS "isReader" FROM points JOIN point_holds ON point_id = points.id WHERE layer_id IN (SELECT id FROM above)
    )
    SELECT EXISTS (SELECT FROM held WHERE layer_id IN (${older.id}, ${younger.id}) OR "isReader")
      OR EXISTS (SELECT FROM volumes JOIN volume_exports ON volume_id = volumes.id
        WHERE top_layer_id IN (SELECT id FROM above) AND (read_only OR volume_id IS DISTINCT FROM ${server}::uuid)) AS "inUse"
  `.execute(tx);
  return rows[0]?.inUse !== false;
}

/** One transaction, repeatable. What is left of `younger` may go. */
export async function record(sql: Sql, { older, younger, child }: Omit<MergePlan, 'server'>): Promise<void> {
  await sql.transaction().execute(async (tx) => {
    await lockTree(tx, 'alone');
    await tx.updateTable('layers').set({ parent_id: older.id, allocated_bytes: null }).where('id', '=', child.id).execute();
    await tx.updateTable('points').set({ layer_id: older.id }).where('layer_id', '=', younger.id).execute();
    await tx.updateTable('layers').set({ size_bytes: younger.sizeBytes, allocated_bytes: null }).where('id', '=', older.id).execute();
    await tx.updateTable('layers').set({ state: 'doomed' }).where('id', '=', younger.id).execute();
  });
}
