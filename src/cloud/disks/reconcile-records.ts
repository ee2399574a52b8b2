/**
 * Rows that contradict each other. Foreign keys and transactions keep that from happening, so whatever is found here was done by hand, came out of a damaged
 * database, or is a defect. Each question is one statement: it sees one moment.
 */
import { sql as query } from 'kysely';
import type { Database } from '../database/service.ts';
import { lockTree, type Sql } from './locks.ts';
import { labelOf } from './reconcile-layer-texts.ts';
import type { Affected, FindingKind, Repair, Severity, Suspicion } from './reconcile-report.ts';

interface Contradiction {
  readonly kind: FindingKind;
  readonly subject: string;
  readonly affected: readonly Affected[];
  readonly severity: Severity;
  readonly detail: string;
  readonly advice: string;
  readonly commands?: readonly string[];
  readonly repair?: () => Promise<Repair | undefined>;
}

const restoreDatabase = 'Nothing here can be guessed: restore the database from a backup of it, or delete what is affected.';

export async function suspectRecords(database: Database): Promise<Suspicion[]> {
  const found = [
    ...(await brokenReferences(database.sql)),
    ...(await unreadableResources(database)),
    ...(await volumesWithoutDisk(database.sql)),
    ...(await disksWithoutVolume(database.sql)),
  ];
  return found.map(({ kind, subject, affected, severity, detail, advice, commands = [], repair }) => ({
    key: `${kind}:${subject}:${detail}`,
    kind,
    subject,
    // The next look asks the same question, and that is all there is to look at.
    confirm: async () => true,
    describe: async () => ({ severity, detail, advice, commands, affected }),
    ...(repair === undefined ? {} : { repair }),
  }));
}

/** What foreign keys forbid. */
async function brokenReferences(sql: Sql): Promise<Contradiction[]> {
  const { rows } = await query<{ table: string; id: string; name: string | null; column: string; target: string }>`
    SELECT 'points' AS table, id, NULL AS name, 'layer_id' AS column, layer_id AS target FROM points
      WHERE layer_id IS NOT NULL AND NOT EXISTS (SELECT FROM layers WHERE id = points.layer_id)
    UNION ALL SELECT 'points', id, NULL, 'parent_id', parent_id FROM points
      WHERE parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM points AS up WHERE up.id = points.parent_id)
    UNION ALL SELECT 'layers', id, NULL, 'parent_id', parent_id FROM layers
      WHERE parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM layers AS below WHERE below.id = layers.parent_id)
    UNION ALL SELECT 'volumes', id, name, 'top_layer_id', top_layer_id FROM volumes
      WHERE top_layer_id IS NOT NULL AND NOT EXISTS (SELECT FROM layers WHERE id = top_layer_id AND state = 'top')
    UNION ALL SELECT 'volumes', id, name, 'head_point_id', head_point_id FROM volumes
      WHERE head_point_id IS NOT NULL AND NOT EXISTS (SELECT FROM points WHERE id = head_point_id)
    UNION ALL SELECT 'snapshots', id, name, 'point_id', point_id FROM snapshots
      WHERE point_id IS NOT NULL AND NOT EXISTS (SELECT FROM points WHERE id = point_id)
    UNION ALL SELECT 'images', id, name, 'point_id', point_id FROM images
      WHERE point_id IS NOT NULL AND NOT EXISTS (SELECT FROM points WHERE id = point_id)
    UNION ALL SELECT 'backups', id, name, 'point_id', point_id FROM backups
      WHERE point_id IS NOT NULL AND NOT EXISTS (SELECT FROM points WHERE id = point_id)`.execute(sql);
  return rows.map(({ table, id, name, column, target }) => {
    const type = affectedTypes[table];
    return {
      kind: 'record-broken',
      subject: id,
      severity: 'error',
      detail: `Row ${id} of ${table} names ${target} in ${column}, and no such row is there${column === 'top_layer_id' ? ' in state top' : ''}.`,
      // A backup's own bytes are in the repository: all that is lost is where the next incremental could start from.
      advice: table === 'backups' ? 'The backup itself is whole. Its next incremental reads everything.' : restoreDatabase,
      affected: type === undefined ? [] : [{ type, id, name }],
    };
  });
}

const affectedTypes: Readonly<Record<string, Affected['type'] | undefined>> = {
  volumes: 'volume',
  snapshots: 'snapshot',
  images: 'image',
  backups: 'backup',
};

interface Resource {
  readonly type: 'snapshot' | 'image';
  readonly id: string;
  readonly name: string | null;
  readonly pointId: string | null;
  readonly isReadable: boolean;
  readonly isHeld: boolean;
}

const resources = query<Resource>`
  SELECT named.*, coalesce(layers.state IN ('frozen', 'merging'), false) AS "isReadable",
    EXISTS (SELECT FROM point_holds WHERE point_holds.point_id = named."pointId" AND holder = named.type || ':' || named.id) AS "isHeld"
  FROM (
    SELECT 'snapshot' AS type, id, name, point_id AS "pointId" FROM snapshots WHERE status = 'available'
    UNION ALL SELECT 'image', id, name, point_id FROM images WHERE status IN ('active', 'deactivated') AND point_id IS NOT NULL
  ) AS named LEFT JOIN points ON points.id = "pointId" LEFT JOIN layers ON layers.id = points.layer_id`;

/** Snapshots and images that look fine: their bytes must be there, and be held, or housekeeping would take them. */
async function unreadableResources(database: Database): Promise<Contradiction[]> {
  const { rows } = await resources.execute(database.sql);
  return rows.flatMap((resource): Contradiction[] => {
    const affected = [{ type: resource.type, id: resource.id, name: resource.name }];
    const label = labelOf(resource.type, resource);
    if (!resource.isReadable) {
      const detail = `The bytes of ${label} are not there: its point ${resource.pointId ?? 'is not named, and'} has no layer.`;
      const advice = `No volume can be made from it. Delete it; if it is needed, restore a backup of that time.`;
      return [{ kind: 'bytes-unreadable', subject: resource.id, severity: 'error', detail, advice, affected }];
    }
    if (resource.isHeld || resource.pointId === null) return [];
    const detail = `Nothing holds the bytes of ${label}: housekeeping may merge them away at any time.`;
    const repair = () => holdAgain(database, resource);
    const commands = ['stillpoint doctor --disks --repair'];
    return [
      { kind: 'hold-missing', subject: resource.id, severity: 'error', detail, advice: 'Repair it now.', commands, affected, repair },
    ];
  });
}

/** Under the lock of the tree, so that housekeeping either sees the hold or has taken the layer before. */
async function holdAgain(database: Database, { type, id }: Resource): Promise<Repair | undefined> {
  return await database.sql.transaction().execute(async (tx) => {
    await lockTree(tx, 'alone');
    const still = (await resources.execute(tx)).rows.find((one) => one.type === type && one.id === id);
    if (still === undefined || !still.isReadable || still.pointId === null) return undefined;
    await tx
      .insertInto('point_holds')
      .values({ point_id: still.pointId, holder: `${type}:${id}` })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return { done: 'Held again.', isRepaired: true };
  });
}

async function volumesWithoutDisk(sql: Sql): Promise<Contradiction[]> {
  const rows = await sql
    .selectFrom('volumes')
    .select(['id', 'name', 'status'])
    .where('status', 'in', ['available', 'in-use', 'reserved', 'attaching', 'detaching'])
    .where('top_layer_id', 'is', null)
    .execute();
  return rows.map(({ id, name, status }) => ({
    kind: 'volume-without-disk',
    subject: id,
    severity: 'error',
    detail: `${labelOf('volume', { id, name })} is ${status} and has no disk.`,
    advice: 'Restore a backup into a new volume, and delete this one, whose status has to be error for that.',
    commands: [`openstack volume set --state error ${id}`, `openstack volume delete ${id}`],
    affected: [{ type: 'volume', id, name }],
  }));
}

async function disksWithoutVolume(sql: Sql): Promise<Contradiction[]> {
  const { rows } = await query<{ id: string; home: string; name: string | null; isKnown: boolean }>`
    SELECT layers.id, home, volumes.name, volumes.id IS NOT NULL AS "isKnown" FROM layers LEFT JOIN volumes ON volumes.id = home
    WHERE state = 'top' AND NOT EXISTS (SELECT FROM volumes AS owner WHERE owner.top_layer_id = layers.id)`.execute(sql);
  return rows.map(({ id, home, name, isKnown }) => ({
    kind: 'disk-without-volume',
    subject: id,
    severity: 'warning',
    detail: isKnown
      ? `Layer ${id} was the disk of ${labelOf('volume', { id: home, name })}, which has another one now.`
      : `Layer ${id} is the disk of volume ${home}, whose row is gone.`,
    advice: 'Its bytes are kept, and take space. If the row was deleted by mistake, restore the database from a backup of it.',
    affected: isKnown ? [{ type: 'volume', id: home, name }] : [],
  }));
}
