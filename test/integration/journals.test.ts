/** Journals in the real tables: whatever is known, forgotten, damaged or given up, no difference between two points is ever left out. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { decodeJournal, encodeJournal, journalRangesMax } from '../../src/cloud/disks/journal-form.ts';
import { prunePoints } from '../../src/cloud/disks/prune.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { newId } from '../../src/lib/ids.ts';
import { type DiskTree, diskBytes, makeDiskTree, mib } from '../support/disk-tree.ts';

const cellBytes = 64 * 1024;
const cells = 10;
const where = { repositoryId: newId(), domain: 'p' };

let tree: DiskTree;
beforeAll(async () => {
  tree = await makeDiskTree();
});
afterAll(() => tree.stop());

interface Point {
  readonly id: string;
  readonly parentId: string | null;
  readonly content: readonly number[];
  readonly journal: 'known' | 'unknown' | 'damaged';
  readonly session: string | null;
  readonly isHeld: boolean;
}

const anyPlan = fc.record({
  parent: fc.nat(),
  isOldest: fc.constantFrom(true, false, false, false),
  written: fc.array(fc.tuple(fc.nat(cells - 1), fc.nat(2)), { maxLength: 4 }),
  journal: fc.constantFrom(...Array<'known'>(10).fill('known'), 'unknown' as const, 'damaged' as const),
  isKnown: fc.boolean(),
  isHeld: fc.boolean(),
});
const anyTree = fc.array(anyPlan, { minLength: 1, maxLength: 12 }).map((plans) => {
  const points: Point[] = [];
  for (const [index, plan] of plans.entries()) {
    const parent = plan.isOldest ? undefined : points[plan.parent % Math.max(1, index)];
    const content = [...(parent?.content ?? Array.from({ length: cells }, () => 0))];
    for (const [cell, value] of plan.written) content[cell] = value;
    const { journal, isHeld } = plan;
    points.push({ id: newId(), parentId: parent?.id ?? null, content, journal, isHeld, session: plan.isKnown ? `session-${index}` : null });
  }
  return points;
});

const rangesOf = (cellNumbers: readonly number[]): ExtentSet =>
  ExtentSet.of(cellNumbers.map((cell) => [cell * cellBytes, (cell + 1) * cellBytes] as const));

const differing = (one: readonly number[], other: readonly number[]): number[] =>
  one.flatMap((value, cell) => (value === other[cell] ? [] : [cell]));

async function journalOf(points: readonly Point[], { parentId, content, journal }: Point): Promise<Buffer | null> {
  if (journal === 'unknown') return null;
  if (journal === 'damaged') return Buffer.from('not a journal');
  const parent = points.find(({ id }) => id === parentId);
  return await encodeJournal(rangesOf(differing(content, parent?.content ?? Array.from({ length: cells }, () => 0))));
}

async function store(points: readonly Point[]): Promise<void> {
  for (const point of points) {
    const row = { id: point.id, parent_id: point.parentId, size_bytes: cells * cellBytes, journal: await journalOf(points, point) };
    await tree.database.sql.insertInto('points').values(row).execute();
    if (point.isHeld) await tree.database.sql.insertInto('point_holds').values({ point_id: point.id, holder: 'snapshot:x' }).execute();
    if (point.session === null) continue;
    const root = { point_id: point.id, repository_id: where.repositoryId, domain: where.domain, session: point.session, root: 'r' };
    await tree.database.sql.insertInto('point_roots').values(root).execute();
  }
}

async function clear(): Promise<void> {
  for (const table of ['point_roots', 'point_holds', 'points'] as const) await tree.database.sql.deleteFrom(table).execute();
}

/** Every answer holds every difference. Returns of which points there was an answer. */
async function expectNoMiss(points: readonly Point[]): Promise<Set<string>> {
  const answered = new Set<string>();
  const left = await tree.database.sql.selectFrom('points').select('id').execute();
  for (const { id } of left) {
    const since = await tree.disks.changesSince(id, where);
    if (since === undefined) continue;
    answered.add(id);
    const from = points.find((point) => point.id === id) as Point;
    const to = points.find((point) => point.session === since.session) as Point;
    for (const cell of differing(from.content, to.content)) {
      expect(since.changed.covers(cell * cellBytes, (cell + 1) * cellBytes)).toBe(true);
    }
  }
  return answered;
}

describe('in any tree of points', () => {
  afterEach(clear);

  it('no difference is left out, before and after points are forgotten and their journals folded', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(anyTree, async (points) => {
        await clear();
        await store(points);
        const before = await expectNoMiss(points);
        await prunePoints(tree.database);
        const after = await expectNoMiss(points);
        const left = (await tree.database.sql.selectFrom('points').select('id').execute()).map(({ id }) => id);
        for (const { id, isHeld, session } of points) if (isHeld || session !== null) expect(left).toContain(id);
        // Where all is known, forgetting points costs no answer.
        if (points.every(({ journal }) => journal === 'known')) for (const id of left) expect(after.has(id)).toBe(before.has(id));
      }),
      { numRuns: 60 },
    );
  });

  it('a journal that lied is not used by anybody again, once it was caught', { timeout: 120_000 }, async () => {
    let caught = 0;
    await fc.assert(
      fc.asyncProperty(anyTree, fc.nat(), fc.nat(), async (plans, start, liar) => {
        await clear();
        const points = plans.map((point) => ({ ...point, journal: 'known' as const }));
        await store(points);
        const from = points[start % points.length] as Point;
        const since = await tree.disks.changesSince(from.id, where);
        const end = points.find(({ session }) => session === since?.session);
        if (since === undefined || end === undefined || end === from) return;
        const steps = stepsBetween(points, from, end);
        const lying = steps[liar % steps.length] as Point;
        await tree.database.sql
          .updateTable('points')
          .set({ journal: await encodeJournal(ExtentSet.empty) })
          .where('id', '=', lying.id)
          .execute();
        await tree.disks.distrust(from.id, { wrong: 'changes', offsetBytes: 0, baseSession: since.session });
        await expectNoMiss(points);
        await prunePoints(tree.database);
        await expectNoMiss(points);
        caught += 1;
      }),
      { numRuns: 60 },
    );
    expect(caught).toBeGreaterThan(10);
  });
});

/** Those on one of the two lines up to the oldest only. */
function stepsBetween(points: readonly Point[], from: Point, to: Point): Point[] {
  const lineOf = (point: Point): Point[] => {
    const parent = points.find(({ id }) => id === point.parentId);
    return parent === undefined ? [point] : [point, ...lineOf(parent)];
  };
  const [left, right] = [lineOf(from), lineOf(to)];
  return [...left.filter((one) => !right.includes(one)), ...right.filter((one) => !left.includes(one))];
}

describe('the journal of a point', () => {
  const know = (pointId: string, session: string) =>
    tree.database.transact((tx) => tree.disks.recordRoot(tx, pointId, { ...where, session, root: 'r' }));
  const rangesSince = async (pointId: string) => [...((await tree.disks.changesSince(pointId, where))?.changed.ranges() ?? ['everything'])];

  it('tells of the end that a smaller point between two larger ones hid', async () => {
    const volumeId = await tree.volume();
    await tree.write(volumeId, [{ offset: 0, length: diskBytes, pattern: 1 }]);
    const before = await tree.freeze(volumeId);
    await know(before, 'large');
    await tree.disks.replaceDisk(volumeId, { fromPointId: before, topLayerId: newId(), sizeBytes: diskBytes / 2 });
    await tree.freeze(volumeId);
    await tree.disks.resize(volumeId, diskBytes);
    const after = await tree.freeze(volumeId);
    expect((await tree.bytesOfPoint(after)).subarray(diskBytes / 2).every((byte) => byte === 0)).toBe(true);
    expect(await rangesSince(after)).toEqual([[diskBytes / 2, diskBytes]]);
  });

  it('is made up for when the process died between the freeze and it, also below and above others', async () => {
    const volumeId = await tree.volume();
    const points: string[] = [];
    for (const at of [1, 3, 5]) {
      await tree.write(volumeId, [{ offset: at * mib, length: cellBytes, pattern: at }]);
      points.push(await tree.freeze(volumeId));
    }
    await know(points[0] ?? '', 'first');
    await tree.disks.idle();
    await tree.database.sql.updateTable('points').set({ journal: null }).where('id', 'in', points).execute();
    expect(await rangesSince(points[2] ?? '')).toEqual([
      [3 * mib, 3 * mib + cellBytes],
      [5 * mib, 5 * mib + cellBytes],
    ]);
  });

  it('that is damaged makes everything be read, fails neither backups nor tidying, and is made up for while the layers are there', async () => {
    const volumeId = await tree.volume();
    await know(await tree.freeze(volumeId), 'damaged');
    await tree.write(volumeId, [{ offset: mib, length: cellBytes, pattern: 1 }]);
    const second = await tree.freeze(volumeId);
    await tree.write(volumeId, [{ offset: 2 * mib, length: cellBytes, pattern: 2 }]);
    const third = await tree.freeze(volumeId);
    await tree.disks.idle();
    await tree.database.sql
      .updateTable('points')
      .set({ journal: Buffer.from('SPXS?') })
      .where('id', '=', second)
      .execute();
    expect(await rangesSince(third)).toEqual(['everything']);
    await tree.release(second);
    await tree.disks.tidy();
    expect(await rangesSince(third)).toEqual([
      [mib, mib + cellBytes],
      [2 * mib, 2 * mib + cellBytes],
    ]);
  });

  it('is not known when the backend does not know, and is asked for again', async () => {
    const volumeId = await tree.volume();
    const first = await tree.freeze(volumeId);
    await know(first, 'forgetful');
    await tree.write(volumeId, [{ offset: mib, length: cellBytes, pattern: 1 }]);
    const { changesOf } = tree.backend;
    tree.backend.changesOf = async () => undefined;
    const second = await tree.freeze(volumeId);
    await tree.disks.idle();
    expect(await rangesSince(second)).toEqual(['everything']);
    tree.backend.changesOf = changesOf;
    expect(await rangesSince(second)).toEqual([[mib, mib + cellBytes]]);
  });

  it('gets coarser grains rather than too many ranges', async () => {
    const many = ExtentSet.builder();
    for (let i = 0; i <= journalRangesMax; i += 1) many.add(i * 3 * cellBytes + 5, i * 3 * cellBytes + 6);
    const changed = many.build();
    const encoded = await encodeJournal(changed);
    expect(encoded.length).toBeLessThan(4 * mib);
    const decoded = await decodeJournal(encoded);
    expect(decoded?.rangeCount).toBeLessThanOrEqual(journalRangesMax);
    expect(changed.subtract(decoded ?? ExtentSet.empty).isEmpty).toBe(true);
  });
});
