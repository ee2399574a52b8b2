import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TreePoint } from './point-store.ts';
import { findWay } from './way.ts';

const point = (id: string, parentId: string | null, session: string | null = null): TreePoint => ({
  id,
  parentId,
  session,
  root: session,
  layerId: null,
  journalKnown: true,
});
const none: ReadonlySet<string> = new Set();
const wayOf = (tree: readonly TreePoint[], start: string, blocked = none) => {
  const way = findWay(tree, start, blocked);
  return way === undefined ? undefined : { end: way.end.id, steps: way.steps.map(({ id }) => id).sort() };
};

describe('the way to the nearest known point', () => {
  it('has no steps when the point itself is known', () => {
    expect(wayOf([point('a', null, 's')], 'a')).toEqual({ end: 'a', steps: [] });
  });

  it('goes up over the journals of everything but the ancestor', () => {
    expect(wayOf([point('a', null, 's'), point('b', 'a'), point('c', 'b')], 'c')).toEqual({ end: 'a', steps: ['b', 'c'] });
  });

  it('goes up and down again over both sides of the common ancestor', () => {
    const tree = [point('root', null), point('left', 'root'), point('known', 'left', 's'), point('right', 'root'), point('asked', 'right')];
    expect(wayOf(tree, 'asked')).toEqual({ end: 'known', steps: ['asked', 'known', 'left', 'right'] });
  });

  it('takes the nearest of several, and an ancestor before others', () => {
    const tree = [point('a', null, 'far'), point('b', 'a', 'near'), point('c', 'b'), point('d', 'c', 'child')];
    expect(wayOf(tree, 'c')?.end).toBe('b');
  });

  it('does not lead across a journal that is not known, in either direction', () => {
    const tree = [point('a', null, 'up'), point('b', 'a'), point('c', 'b'), point('d', 'c', 'down')];
    expect(wayOf(tree, 'c', new Set(['b']))?.end).toBe('d');
    expect(wayOf(tree, 'c', new Set(['b', 'd']))).toBeUndefined();
  });

  it('is not there when nothing is known', () => {
    expect(wayOf([point('a', null), point('b', 'a')], 'b')).toBeUndefined();
  });
});

/** Cells of a small disk. Those beyond the end of a point are 0, as a disk that grows has zeroes there. */
const cells = 10;

interface Simulated extends TreePoint {
  readonly content: readonly number[];
  /** What changed since the parent, and perhaps more. */
  readonly journal: ReadonlySet<number>;
}

const anyTree = fc
  .array(
    fc.record({
      parent: fc.nat(),
      isOldest: fc.boolean(),
      written: fc.array(fc.tuple(fc.nat(cells - 1), fc.nat(2)), { maxLength: 4 }),
      tooMuch: fc.array(fc.nat(cells - 1), { maxLength: 1 }),
      isKnown: fc.boolean(),
      isBlocked: fc.boolean(),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((plans) => {
    const tree: Simulated[] = [];
    for (const [index, plan] of plans.entries()) {
      const parent = plan.isOldest && index % 3 === 0 ? undefined : tree[plan.parent % Math.max(1, index)];
      const before = parent?.content ?? Array.from({ length: cells }, () => 0);
      const content = [...before];
      for (const [cell, value] of plan.written) content[cell] = value;
      const differing = content.flatMap((value, cell) => (value === before[cell] ? [] : [cell]));
      const journal = new Set([...differing, ...plan.tooMuch]);
      tree.push({ ...point(`${index}`, parent?.id ?? null, plan.isKnown ? `s${index}` : null), content, journal });
    }
    const blocked = new Set(tree.filter((_, index) => plans[index]?.isBlocked === true && index % 2 === 0).map(({ id }) => id));
    return { tree, blocked };
  });

const lineOf = (tree: readonly Simulated[], from: Simulated): Simulated[] => {
  const parent = tree.find(({ id }) => id === from.parentId);
  return parent === undefined ? [from] : [from, ...lineOf(tree, parent)];
};

/** The rule, said differently: the points on only one of the two lines up to the oldest. Undefined: the lines never meet. */
const ruleOf = (tree: readonly Simulated[], from: Simulated, to: Simulated): Simulated[] | undefined => {
  const [left, right] = [lineOf(tree, from), lineOf(tree, to)];
  if (left.at(-1) !== right.at(-1)) return undefined;
  return [...left.filter((one) => !right.includes(one)), ...right.filter((one) => !left.includes(one))];
};

describe('in any tree', () => {
  it('the journals on the way hold every difference between its ends, and are those of both sides without the common ancestor', () => {
    fc.assert(
      fc.property(anyTree, fc.nat(), ({ tree, blocked }, start) => {
        const from = tree[start % tree.length] as Simulated;
        const way = findWay(tree, from.id, blocked);
        if (way === undefined) return;
        const end = tree.find(({ id }) => id === way.end.id) as Simulated;
        const steps = way.steps as readonly Simulated[];
        expect(new Set(steps)).toEqual(new Set(ruleOf(tree, from, end)));
        expect(steps.filter(({ id }) => blocked.has(id))).toEqual([]);
        for (let cell = 0; cell < cells; cell += 1) {
          if (from.content[cell] !== end.content[cell]) expect(steps.some(({ journal }) => journal.has(cell))).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('the way is there exactly when some known point can be reached without a blocked journal, and none is nearer', () => {
    fc.assert(
      fc.property(anyTree, fc.nat(), ({ tree, blocked }, start) => {
        const from = tree[start % tree.length] as Simulated;
        const reachable = tree
          .filter(({ session }) => session !== null)
          .flatMap((end) => {
            const steps = ruleOf(tree, from, end);
            return steps === undefined || steps.some(({ id }) => blocked.has(id)) ? [] : [steps.length];
          });
        const way = findWay(tree, from.id, blocked);
        expect(way?.steps.length).toBe(reachable.length === 0 ? undefined : Math.min(...reachable));
      }),
      { numRuns: 1000 },
    );
  });
});
