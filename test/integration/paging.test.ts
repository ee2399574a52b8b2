import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VolumeListQuery } from '../../src/cloud/volumes/contract.ts';
import { listVolumes } from '../../src/cloud/volumes/store.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';
import { statementsOf } from '../support/statements.ts';

/** A page costs the same wherever it is: what PostgreSQL itself counts of pages read, among a million rows. */

const rows = 1_000_000;
const pageSize = 100;
/** Behind page 10,000. */
const lastMarker = rows - pageSize;

let held: TestDatabase;

beforeAll(async () => {
  held = await testDatabase();
  const { sql: db } = held.database;
  // Half of them are of one project, every second one. Row 1 is the newest.
  await sql`
    INSERT INTO volumes (id, project_id, user_id, name, status, size_gib, availability_zone, volume_type_id, created_at)
    SELECT ${idOf('n')}, CASE n % 2 WHEN 0 THEN 'mine' ELSE 'other' END, 'ada', 'volume-' || n, 'available', 1, 'nova',
      (SELECT id FROM volume_types LIMIT 1), '2026-01-01'::timestamptz - n * interval '1 second'
    FROM generate_series(1, ${rows}::integer) AS n`.execute(db);
  await sql`VACUUM ANALYZE volumes`.execute(db);
}, 120_000);
afterAll(async () => await held?.drop());

function idOf(column: string) {
  return sql.raw(`('00000000-0000-4000-8000-' || lpad(to_hex(${column}), 12, '0'))::uuid`);
}
const idAt = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

const newestFirst = (projectId: string | undefined, marker: number | undefined): VolumeListQuery => ({
  projectId,
  filters: [],
  metadata: {},
  sort: [
    { column: 'created_at', direction: 'desc' },
    { column: 'id', direction: 'desc' },
  ],
  markerId: marker === undefined ? undefined : idAt(marker),
  limit: pageSize,
  offset: 0,
});

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Shared Hit Blocks': number;
  readonly 'Shared Read Blocks': number;
  readonly Plans?: readonly PlanNode[];
}

/** What reading costs, in pages of the database. */
async function pagesReadBy(work: () => Promise<readonly unknown[]>): Promise<{ pages: number; count: number }> {
  let count = 0;
  const [statement, ...others] = await statementsOf(async () => {
    count = (await work()).length;
  });
  expect(others).toEqual([]);
  const explain = `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${statement?.text}`;
  const session = await held.database.openSession('explain');
  try {
    const { rows: found } = await session.query(explain, [...(statement?.values ?? [])]);
    const plan: PlanNode = found[0]['QUERY PLAN'][0].Plan;
    return { pages: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'], count };
  } finally {
    await session.end();
  }
}

it.each([
  ['of a project', 'mine'],
  ['of all projects', undefined],
] as const)('a page of volumes %s costs on page 10,000 what it costs on page 1', async (_, projectId) => {
  const at = (marker: number | undefined) => pagesReadBy(() => listVolumes(held.database.sql, newestFirst(projectId, marker)));
  const [first, last] = [await at(undefined), await at(lastMarker - (projectId === undefined ? 0 : pageSize))];
  expect([first.count, last.count]).toEqual([pageSize, pageSize]);
  // Finding the marker itself costs a descent of its index for each time it is named.
  const markerPages = 32;
  expect(last.pages).toBeLessThan(2 * first.pages + markerPages);
});
