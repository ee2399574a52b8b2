import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIdHasher } from './chunk-id.ts';
import { type DiskMap, holeReference, isHole, leafCountOf, type NodeReference, topLevelOf } from './disk-map.ts';
import { FAN_OUT, LEAF_BYTES, packNameOf } from './format.ts';
import { LeafFinder, UnreadableNode } from './leaf-finder.ts';
import { differingLeaves, type ReadNode } from './map-difference.ts';
import { MapNode } from './map-node.ts';

const hasher = createIdHasher(randomBytes(32));
const pack = packNameOf(randomBytes(16).toString('hex'), 1);
const leafIdOf = (content: number): Buffer => hasher.idOf(Buffer.from(`leaf ${content}`));

/** Maps whose nodes lie in one table, by id and level. Counts what is read. */
class Trees {
  readonly #nodes = new Map<string, MapNode>();
  readonly lost = new Set<string>();
  reads = 0;

  /** `leaves`: what is in each leaf; those left out are holes. */
  map(sizeBytes: number, leaves: ReadonlyMap<number, number>): DiskMap {
    let references = new Map([...leaves].map(([index, content]) => [index, this.#reference(leafIdOf(content))]));
    const topLevel = topLevelOf(sizeBytes);
    for (let level = 1; level <= topLevel; level += 1) {
      const nodes = new Map<number, MapNode>();
      for (const [index, { id }] of references) {
        const parent = nodes.get(Math.floor(index / FAN_OUT)) ?? new MapNode(level);
        nodes.set(Math.floor(index / FAN_OUT), parent);
        parent.set(index % FAN_OUT, id, 0, { pack, frame: 1, offsetBytes: 1, lengthBytes: 1 }, 0);
      }
      references = new Map([...nodes].map(([index, node]) => [index, this.#store(node)]));
    }
    return { sizeBytes, topLevel, top: references.get(0) ?? holeReference };
  }

  readonly read: ReadNode & ((reference: NodeReference, level: number) => MapNode) = (reference: NodeReference, level: number): MapNode => {
    this.reads += 1;
    const key = `${level} ${reference.id.toString('hex')}`;
    const node = this.#nodes.get(key);
    if (node === undefined || this.lost.has(key)) throw new Error(`node ${key} is lost`);
    return node;
  };

  lose(level: number, reference: NodeReference): void {
    this.lost.add(`${level} ${reference.id.toString('hex')}`);
  }

  #store(node: MapNode): NodeReference {
    const id = node.id(hasher);
    this.#nodes.set(`${node.level} ${id.toString('hex')}`, node);
    return this.#reference(id);
  }

  #reference(id: Buffer): NodeReference {
    return { id, address: { pack, frame: 1, offsetBytes: 1, lengthBytes: 1 } };
  }
}

async function differences(trees: Trees, left: DiskMap, right: DiskMap) {
  const found: number[] = [];
  for await (const { leafIndex } of differingLeaves({ map: left, read: trees.read }, { map: right, read: trees.read }))
    found.push(leafIndex);
  return found;
}

const leafCount = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 40_000 }), fc.integer({ min: 1, max: 2_200_000 }));
const contents = fc.array(fc.tuple(fc.double({ min: 0, max: 0.999_999, noNaN: true }), fc.integer({ min: 0, max: 3 })), { maxLength: 40 });
const leavesOf = (count: number, list: readonly (readonly [number, number])[]) =>
  new Map(list.map(([where, content]) => [Math.floor(where * count), content] as const));

describe('the difference of two maps', () => {
  it('names exactly the leaves that differ, in order, for disks of any two sizes', async () => {
    await fc.assert(
      fc.asyncProperty(leafCount, leafCount, contents, contents, contents, async (one, other, shared, onlyLeft, onlyRight) => {
        const trees = new Trees();
        const both = leavesOf(Math.min(one, other), shared);
        const [lefts, rights] = [new Map([...both, ...leavesOf(one, onlyLeft)]), new Map([...both, ...leavesOf(other, onlyRight)])];
        const [left, right] = [trees.map(one * LEAF_BYTES, lefts), trees.map(other * LEAF_BYTES, rights)];
        const wanted = [...new Set([...lefts.keys(), ...rights.keys()])].filter((index) => lefts.get(index) !== rights.get(index));
        expect(await differences(trees, left, right)).toEqual(wanted.sort((a, b) => a - b));
        expect(await differences(trees, left, left)).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  it('costs what differs, not what is there', async () => {
    const trees = new Trees();
    const count = leafCountOf(2 ** 40);
    const leaves = new Map(Array.from({ length: count }, (_, index) => [index, index] as const));
    const [left, right] = [trees.map(2 ** 40, leaves), trees.map(2 ** 40, new Map(leaves).set(77_777, -1))];
    expect(await differences(trees, left, right)).toEqual([77_777]);
    expect(trees.reads).toBe(2 * left.topLevel);
  });

  it('leaves out what lies below a node that is not there', async () => {
    const trees = new Trees();
    const left = trees.map(
      FAN_OUT * FAN_OUT * LEAF_BYTES,
      new Map([
        [1, 1],
        [300, 2],
      ]),
    );
    const right = trees.map(
      FAN_OUT * FAN_OUT * LEAF_BYTES,
      new Map([
        [1, 5],
        [300, 6],
      ]),
    );
    const read: ReadNode = (reference, level, index) => (level === 1 && index === 0 ? undefined : trees.read(reference, level, index));
    const found: number[] = [];
    for await (const { leafIndex } of differingLeaves({ map: left, read: trees.read }, { map: right, read })) found.push(leafIndex);
    expect(found).toEqual([300]);
  });
});

describe('a finder of leaves', () => {
  it('finds each leaf, and holes where there is none, reading each inner node once', async () => {
    await fc.assert(
      fc.asyncProperty(leafCount, contents, async (count, list) => {
        const trees = new Trees();
        const leaves = leavesOf(count, list);
        const map = trees.map(count * LEAF_BYTES, leaves);
        const finder = new LeafFinder({ read: trees.read }, map);
        const asked = [...leaves.keys()]
          .flatMap((index) => [index, index + 1])
          .concat(count, 2 ** 33)
          .sort((a, b) => a - b);
        for (const index of asked) {
          const found = await finder.leafAt(index);
          const content = leaves.get(index);
          expect(content === undefined ? isHole(found) : found.id.equals(leafIdOf(content))).toBe(true);
        }
        const levels = Array.from(
          { length: map.topLevel },
          (_, level) => new Set([...leaves.keys()].map((index) => Math.floor(index / FAN_OUT ** (level + 1)))).size,
        );
        expect(trees.reads).toBeLessThanOrEqual(levels.reduce((sum, nodes) => sum + nodes, 0));
      }),
      { numRuns: 100 },
    );
  });

  it('says which part of the disk a lost node describes, and asks for it once', async () => {
    const trees = new Trees();
    const map = trees.map(
      FAN_OUT * FAN_OUT * LEAF_BYTES,
      new Map([
        [1, 1],
        [300, 2],
        [301, 3],
      ]),
    );
    const top = trees.read(map.top, 2);
    trees.lose(1, { id: top.idOf(2), address: top.addressOf(2) });
    trees.reads = 0;
    const finder = new LeafFinder({ read: trees.read }, map);
    const errors: unknown[] = [];
    for (const index of [300, 301]) await finder.leafAt(index).catch((error: unknown) => errors.push(error));
    expect(errors[1]).toBe(errors[0]);
    expect(trees.reads).toBe(2);
    expect(errors[0]).toBeInstanceOf(UnreadableNode);
    expect(errors[0]).toMatchObject({ offsetBytes: 2 * FAN_OUT * LEAF_BYTES, lengthBytes: FAN_OUT * LEAF_BYTES });
    expect(isHole(await finder.leafAt(2))).toBe(true);
    expect((await finder.leafAt(1)).id.equals(leafIdOf(1))).toBe(true);
  });
});
