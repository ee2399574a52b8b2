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
  readonly id: string;
  readonly parentId: string | null;
  readonly childIds: readonly string[];
}

/** One run handles so many, in short transactions: the next run continues. */
const pointsPerRunMax = 500;

/** Returns how many points it forgot. */
export async function prunePoints(database: Database): Promise<number> {
  let forgotten = 0;
  for (; forgotten < pointsPerRunMax; forgotten += 1) {
    const done = await database.sql.transaction().execute(async (tx) => {
      await lockTree(tx, 'alone');
      const point = await findPrunable(tx);
      if (point === undefined) return false;
      const [child] = point.childIds;
      if (child !== undefined) await foldInto(tx, point, child);
      await tx.deleteFrom('points').where('id', '=', point.id).execute();
      return true;
    });
    if (!done) break;
  }
  return forgotten;
}

async function findPrunable(tx: Sql): Promise<PrunablePoint | undefined> {
  const { rows } = await query<PrunablePoint>`
    SELECT id, parent_id AS "parentId", ARRAY(SELECT id FROM points AS child WHERE child.parent_id = points.id) AS "childIds"
    FROM points
    WHERE (SELECT count(*) FROM points AS child WHERE child.parent_id = points.id) <= 1
      AND NOT EXISTS (SELECT FROM points AS child WHERE child.parent_id = points.id AND child.journal IS NULL AND child.layer_id IS NOT NULL)
      AND NOT EXISTS (SELECT FROM layers WHERE layers.id = layer_id AND state IN ('planned', 'top'))
      AND NOT EXISTS (SELECT FROM point_holds WHERE point_id = points.id)
      AND NOT EXISTS (SELECT FROM point_roots WHERE point_id = points.id)
      AND NOT EXISTS (SELECT FROM volumes WHERE head_point_id = points.id)
      AND NOT EXISTS (SELECT FROM snapshots WHERE snapshots.point_id = points.id)
      AND NOT EXISTS (SELECT FROM images WHERE images.point_id = points.id)
      AND NOT EXISTS (SELECT FROM backups WHERE backups.point_id = points.id)
    LIMIT 1 FOR UPDATE`.execute(tx);
  return rows[0];
}

/** The child then tells what changed since the point below. Unless both journals are known, that is not known. */
async function foldInto(tx: Sql, point: PrunablePoint, childId: string): Promise<void> {
  const journals = await journalsOf(tx, [point.id, childId]);
  const both = journals.size === 2 ? await encodeJournal(await uniteJournals([...journals.values()])) : null;
  await tx.updateTable('points').set({ parent_id: point.parentId, journal: both }).where('id', '=', childId).execute();
}
