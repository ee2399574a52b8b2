import fc from 'fast-check';
import { expect, it } from 'vitest';
import { planTidy, type TidyLayer } from './tidy.ts';

/**
 * Whatever the tree: repeated planning ends, with nothing left to remove, what is named is still there, and a chain that may be merged has at
 * most one unnamed layer between two that must stay.
 */

interface Seed {
  readonly parent: number;
  readonly named: boolean;
  readonly state: 'frozen' | 'merging' | 'doomed';
}

const chosen = (rows: readonly TidyLayer[]) => new Set(rows.map(({ id }) => id));

/** A tree: each layer stands on an earlier one or on nothing, and leaves that are wanted are tops, with a server or without. */
const trees = fc
  .record({
    seeds: fc.array(
      fc.record({
        // Mostly on the one before: chains, with a branch here and there.
        parent: fc.oneof({ weight: 6, arbitrary: fc.constant(-1) }, { weight: 1, arbitrary: fc.nat(30) }),
        named: fc.boolean(),
        state: fc.oneof(
          { weight: 8, arbitrary: fc.constant('frozen' as const) },
          { weight: 1, arbitrary: fc.constantFrom('merging' as const, 'doomed' as const) },
        ),
      }),
      { minLength: 1, maxLength: 30 },
    ),
    served: fc.boolean(),
  })
  .map(({ seeds, served }) => treeOf(seeds, served));

function treeOf(seeds: readonly Seed[], served: boolean): TidyLayer[] {
  const parentAt = (index: number): number => {
    const { parent } = seeds[index] as Seed;
    return parent < 0 || index === 0 ? index - 1 : parent % index;
  };
  const isLeaf = (index: number): boolean => !seeds.some((_, other) => other > index && parentAt(other) === index);
  const rows = seeds.map(({ named, state }, index): TidyLayer => {
    // Nothing that is needed stands on what is doomed.
    const isTop = isLeaf(index) && state !== 'doomed';
    const lasting = state === 'doomed' && !isLeaf(index) ? 'frozen' : state;
    const parent = parentAt(index);
    return {
      id: String(index),
      parentId: parent < 0 ? null : String(parent),
      home: 'volume',
      format: 'qcow2',
      sizeBytes: 1,
      state: isTop ? 'top' : lasting,
      named: named && state === 'frozen' && !isTop,
      topOfVolume: isTop,
      openers: [],
    };
  });
  const possible = rows.map((layer) =>
    layer.state === 'merging' && !couldMerge(layer, rows) ? { ...layer, state: 'frozen' as const } : layer,
  );
  return served ? withOpeners(possible) : possible;
}

/** Only such layers are ever marked. */
function couldMerge(younger: TidyLayer, rows: readonly TidyLayer[]): boolean {
  const older = rows.find(({ id }) => id === younger.parentId);
  const childrenOf = (id: string): number => rows.filter(({ parentId }) => parentId === id).length;
  return older?.state === 'frozen' && !older.named && childrenOf(older.id) === 1 && childrenOf(younger.id) === 1;
}

/** The last top is served, so that all below it is open. */
function withOpeners(rows: TidyLayer[]): TidyLayer[] {
  const byId = new Map(rows.map((layer) => [layer.id, layer]));
  const open = new Set<string>();
  for (let at = rows.findLast(({ state }) => state === 'top'); at !== undefined; at = byId.get(at.parentId ?? '')) open.add(at.id);
  return rows.map((layer) => (open.has(layer.id) ? { ...layer, openers: ['volume'] } : layer));
}

/** Does what the plan says, one thing at a time, until it says nothing. */
function tidyUp(rows: readonly TidyLayer[]): TidyLayer[] {
  let layers = [...rows];
  for (let steps = 0; ; steps += 1) {
    expect(steps).toBeLessThanOrEqual(rows.length);
    const { remove, merge } = planTidy(layers);
    const gone = chosen(remove);
    const [next] = merge;
    if (gone.size === 0 && next === undefined) return layers;
    layers = layers.filter(({ id }) => !gone.has(id));
    if (gone.size > 0 || next === undefined) continue;
    layers = layers
      .filter(({ id }) => id !== next.younger.id)
      .map((layer) => (layer.id === next.child.id ? { ...layer, parentId: next.older.id } : layer));
  }
}

it('repeated planning ends, and leaves chains of no more than twice what must stay, and two', () => {
  fc.assert(
    fc.property(trees, (rows) => {
      const left = tidyUp(rows);
      const kept = chosen(left);
      for (const { id } of rows.filter(({ named, topOfVolume }) => named || topOfVolume)) expect(kept.has(id)).toBe(true);
      const byId = new Map(left.map((layer) => [layer.id, layer]));
      const branches = new Map<string | null, number>();
      for (const { parentId } of left) branches.set(parentId, (branches.get(parentId) ?? 0) + 1);
      for (const top of left.filter(({ state }) => state === 'top')) {
        let length = 0;
        let standing = 0;
        for (let at: TidyLayer | undefined = top; at !== undefined; at = byId.get(at.parentId ?? '')) {
          length += 1;
          if (at.named || (branches.get(at.id) ?? 0) > 1) standing += 1;
        }
        expect(length).toBeLessThanOrEqual(2 * standing + 2);
      }
    }),
    { numRuns: 2000 },
  );
});
