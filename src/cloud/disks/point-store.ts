/** The rows of points, who holds them, and what they are known as in repositories. */
import { sql as query } from 'kysely';
import type { ExtentSet } from '../../engine/disk/extent-set.ts';
import type { KnownRoot, PointConsistency } from './contract.ts';
import { decodeJournal, encodeJournal, everythingChanged } from './journal-form.ts';
import type { LayerState } from './layer-store.ts';
import type { Sql } from './locks.ts';

export interface PointRow {
  readonly id: string;
  readonly parentId: string | null;
  readonly layerId: string | null;
  /** The state of that layer. A point whose layer is still a top, or planned, is not made yet. */
  readonly layerState: LayerState | null;
  readonly sizeBytes: number;
  readonly journalKnown: boolean;
  readonly held: boolean;
}

export async function findPoint(sql: Sql, pointId: string): Promise<PointRow | undefined> {
  const { rows } = await query<PointRow>`
    SELECT points.id, points.parent_id AS "parentId", layer_id AS "layerId", layers.state AS "layerState",
      points.size_bytes AS "sizeBytes", journal IS NOT NULL AS "journalKnown",
      EXISTS (SELECT FROM point_holds WHERE point_id = points.id) AS held
    FROM points LEFT JOIN layers ON layers.id = layer_id WHERE points.id = ${pointId}`.execute(sql);
  return rows[0];
}

const madeStates: readonly (LayerState | null)[] = ['frozen', 'merging'];

/** Whether the moment has happened and its bytes are there. */
export const isReadable = (point: PointRow): boolean => madeStates.includes(point.layerState);

export interface PointPlan {
  readonly id: string;
  readonly parentId: string | null;
  readonly layerId: string;
  readonly sizeBytes: number;
  readonly holder: string;
}

/** Writes a point and its hold before the moment itself. A row that an interrupted attempt left is taken over. */
export async function planPoint(sql: Sql, plan: PointPlan): Promise<void> {
  await query`
    WITH point AS (
      INSERT INTO points (id, parent_id, layer_id, size_bytes) VALUES (${plan.id}, ${plan.parentId}, ${plan.layerId}, ${plan.sizeBytes})
      ON CONFLICT (id) DO UPDATE SET parent_id = EXCLUDED.parent_id, layer_id = EXCLUDED.layer_id, size_bytes = EXCLUDED.size_bytes
    )
    INSERT INTO point_holds (point_id, holder) VALUES (${plan.id}, ${plan.holder}) ON CONFLICT DO NOTHING`.execute(sql);
}

export async function findConsistency(sql: Sql, pointId: string): Promise<PointConsistency> {
  const { rows } = await query<PointConsistency>`
    SELECT consistency, freeze_ms AS "freezeMs" FROM points WHERE id = ${pointId}`.execute(sql);
  return rows[0] ?? { consistency: null, freezeMs: null };
}

export async function addHold(sql: Sql, pointId: string, holder: string): Promise<void> {
  await sql
    .insertInto('point_holds')
    .values({ point_id: pointId, holder })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Also takes away that the point is unproven: with the hold of whoever asked for it, that is of no interest any more. */
export async function removeHold(sql: Sql, pointId: string, holder: string): Promise<void> {
  await sql
    .deleteFrom('point_holds')
    .where('point_id', '=', pointId)
    .where('holder', 'in', [holder, unproven(holder)])
    .execute();
}

/** A hold and who has it. */
export interface Hold {
  readonly pointId: string;
  readonly holder: string;
}

/**
 * A second hold beside that of whoever asked for a point, as durable as the point is: nobody knows yet whether it is of one moment with the others that were
 * asked for.
 */
export const unproven = (holder: string): string => `unproven:${holder}`;

export async function markProven(sql: Sql, holds: readonly Hold[]): Promise<void> {
  await sql
    .deleteFrom('point_holds')
    .where((eb) => eb.or(holds.map((hold) => eb.and(unprovenRow(hold)))))
    .execute();
}

export async function isAnyUnproven(sql: Sql, holds: readonly Hold[]): Promise<boolean> {
  const rows = sql
    .selectFrom('point_holds')
    .select('point_id')
    .where((eb) => eb.or(holds.map((hold) => eb.and(unprovenRow(hold)))));
  return (await rows.executeTakeFirst()) !== undefined;
}

const unprovenRow = ({ pointId, holder }: Hold) => ({ point_id: pointId, holder: unproven(holder) });

export async function addRoot(sql: Sql, pointId: string, known: KnownRoot): Promise<void> {
  await sql
    .insertInto('point_roots')
    .values({ point_id: pointId, repository_id: known.repositoryId, domain: known.domain, session: known.session, root: known.root })
    .onConflict((conflict) => conflict.columns(['point_id', 'repository_id', 'domain', 'session']).doUpdateSet({ root: known.root }))
    .execute();
}

export async function removeRootsOf(sql: Sql, session: string): Promise<void> {
  await sql.deleteFrom('point_roots').where('session', '=', session).execute();
}

/** A node of a tree of points, for finding the way between two of them. */
export interface TreePoint {
  readonly id: string;
  readonly parentId: string | null;
  readonly journalKnown: boolean;
  /** The layer to compute a missing journal from. */
  readonly layerId: string | null;
  readonly session: string | null;
  readonly root: string | null;
}

const treeColumns = (where: { repositoryId: string; domain: string }) => query`
  tree.id, tree.parent_id AS "parentId", tree.layer_id AS "layerId", tree.journal IS NOT NULL AS "journalKnown", known.session, known.root
  FROM tree LEFT JOIN LATERAL (
    SELECT session, root FROM point_roots
    WHERE point_id = tree.id AND repository_id = ${where.repositoryId} AND domain = ${where.domain} ORDER BY session LIMIT 1
  ) AS known ON true`;

// As in layer-store.ts, limits keep PostgreSQL from reading all points in each step.

/** A point and all its ancestors. */
export async function ancestorsOf(sql: Sql, pointId: string, where: { repositoryId: string; domain: string }): Promise<TreePoint[]> {
  const { rows } = await query<TreePoint>`
    WITH RECURSIVE tree AS (
      SELECT id, parent_id, layer_id, journal FROM points WHERE id = ${pointId}
      UNION ALL SELECT up.id, up.parent_id, up.layer_id, up.journal
        FROM tree CROSS JOIN LATERAL (SELECT * FROM points WHERE id = tree.parent_id LIMIT 1) AS up
    ) SELECT ${treeColumns(where)}`.execute(sql);
  return rows;
}

/** All points that share an oldest ancestor with the given one. */
export async function wholeTreeOf(sql: Sql, pointId: string, where: { repositoryId: string; domain: string }): Promise<TreePoint[]> {
  const { rows } = await query<TreePoint>`
    WITH RECURSIVE up AS (
      SELECT id, parent_id FROM points WHERE id = ${pointId}
      UNION ALL SELECT next.id, next.parent_id FROM up CROSS JOIN LATERAL (SELECT * FROM points WHERE id = up.parent_id LIMIT 1) AS next
    ), tree AS (
      SELECT id, parent_id, layer_id, journal FROM points WHERE id = (SELECT id FROM up WHERE parent_id IS NULL)
      UNION ALL SELECT down.id, down.parent_id, down.layer_id, down.journal
        FROM tree CROSS JOIN LATERAL (SELECT * FROM points WHERE parent_id = tree.id OFFSET 0) AS down
    ) SELECT ${treeColumns(where)}`.execute(sql);
  return rows;
}

/** The journals of some points, by id; those that are not known, or damaged, are left out. */
export async function journalsOf(sql: Sql, pointIds: readonly string[]): Promise<Map<string, ExtentSet>> {
  if (pointIds.length === 0) return new Map();
  const rows = await sql.selectFrom('points').select(['id', 'journal']).where('id', 'in', pointIds).execute();
  const known = new Map<string, ExtentSet>();
  for (const { id, journal } of rows) {
    const ranges = journal === null ? undefined : await decodeJournal(journal);
    if (ranges !== undefined) known.set(id, ranges);
  }
  return known;
}

/** Only while it is not known, and the point still hangs on the parent that it was computed against. */
export async function setJournal(sql: Sql, pointId: string, parentId: string | null, changed: ExtentSet): Promise<void> {
  const journal = await encodeJournal(changed);
  await query`
    UPDATE points SET journal = ${journal}
    WHERE id = ${pointId} AND journal IS NULL AND parent_id IS NOT DISTINCT FROM ${parentId}::uuid`.execute(sql);
}

/**
 * Between a point and the content that a session is known for, a journal left out a change. Which one cannot be told: it may lie on the way between
 * them, or on that of an earlier backup that the session's was made from. So no root on the lines from both up to the oldest ancestor is trusted any
 * more, and each journal there says from now on that everything changed.
 */
export async function distrustLines(sql: Sql, pointId: string, session: string | undefined): Promise<void> {
  await query`
    WITH RECURSIVE line AS (
      SELECT id, parent_id FROM points WHERE id = ${pointId} OR id IN (SELECT point_id FROM point_roots WHERE session = ${session ?? null})
      UNION SELECT up.id, up.parent_id FROM points AS up JOIN line ON up.id = line.parent_id
    ), forgotten AS (DELETE FROM point_roots WHERE point_id IN (SELECT id FROM line))
    UPDATE points SET journal = ${await encodeJournal(everythingChanged)} WHERE id IN (SELECT id FROM line)`.execute(sql);
}
