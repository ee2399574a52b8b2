/**
 * Forgets points that no journal path needs any more, so that a volume with a snapshot a day for years keeps a short tree.
 *
 * A point is needed while somebody holds it, a repository knows its content, a volume's top stands on it, or a resource's row names it. Of
 * the others, one without children goes; one with a single child is folded into it, whose journal becomes that of both. A point with several
 * children is where ways meet: it stays.
 */
import { sql as query } from 'kysely';
import type { Database } from '../database/service.ts';
import { encodeJournal, uniteJournals } from './journal-form.ts';
import { lockTree, type Sql } from './locks.ts';
import { journalsOf } from './point-store.ts';

interface PrunablePoint {
  readonly parentId: string | null;
  readonly childIds: readonly string[];
}

/** One run handles so many, in short transactions: the next run continues. */
const pointsPerRunMax = 500;

/** Returns how many points it forgot. */
export async function prunePoints(database: Database): Promise<number> {
  let forgotten = 0;
  // One that goes may let another go.
  for (let ids = await findPrunable(database.sql); ids.length > 0 && forgotten < pointsPerRunMax; ids = await findPrunable(database.sql)) {
    for (const id of ids) if (await prunePoint(database, id)) forgotten += 1;
  }
  return forgotten;
}

/** Looks again, under the lock of the tree. */
async function prunePoint(database: Database, id: string): Promise<boolean> {
  return await database.sql.transaction().execute(async (tx) => {
    await lockTree(tx, 'alone');
    const { rows } = await query<PrunablePoint>`
      SELECT parent_id AS "parentId", ARRAY(SELECT id FROM points AS child WHERE child.parent_id = points.id) AS "childIds"
      FROM points WHERE id = ${id} AND ${isPrunable} FOR UPDATE`.execute(tx);
    const [point] = rows;
    if (point === undefined) return false;
    const [child] = point.childIds;
    if (child !== undefined) await foldInto(tx, { id, parentId: point.parentId }, child);
    await tx.deleteFrom('points').where('id', '=', id).execute();
    return true;
  });
}

/** Looked up point by point, which PostgreSQL plans in a tenth of the time that it takes to plan them as joins. */
const none = (rows: string) => `(SELECT true FROM ${rows} LIMIT 1) IS NULL`;
const isPrunable = query.raw(
  [
    none('point_holds WHERE point_id = points.id'),
    none('point_roots WHERE point_id = points.id'),
    none('points AS child WHERE child.parent_id = points.id OFFSET 1'),
    none('points AS child WHERE child.parent_id = points.id AND child.journal IS NULL AND child.layer_id IS NOT NULL'),
    none(`layers WHERE layers.id = points.layer_id AND state IN ('planned', 'top')`),
    none('volumes WHERE head_point_id = points.id'),
    none('snapshots WHERE snapshots.point_id = points.id'),
    none('images WHERE images.point_id = points.id'),
    none('backups WHERE backups.point_id = points.id'),
  ].join(' AND '),
);

async function findPrunable(sql: Sql): Promise<string[]> {
  const { rows } = await query<{ id: string }>`
    SELECT id FROM points WHERE ${isPrunable} LIMIT ${pointsPerRunMax}`.execute(sql);
  return rows.map(({ id }) => id);
}

/** The child then tells what changed since the point below. Unless both journals are known, that is not known. */
async function foldInto(tx: Sql, point: { id: string; parentId: string | null }, childId: string): Promise<void> {
  const journals = await journalsOf(tx, [point.id, childId]);
  const both = journals.size === 2 ? await encodeJournal(await uniteJournals([...journals.values()])) : null;
  await tx.updateTable('points').set({ parent_id: point.parentId, journal: both }).where('id', '=', childId).execute();
}
