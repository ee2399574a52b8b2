/**
 * Where two maps of one domain differ: the Merkle difference. Both trees are walked together, and what has the same id on both sides is left
 * out unread, so that the cost follows the difference and not the disks.
 *
 * Maps of different sizes may have tops at different levels. The lower tree is then compared with the first child of the higher one's top, again
 * and again, until the levels meet; everything beside it is compared with nothing.
 */
import { childOf, type DiskMap, holeReference, isHole, type NodeReference } from './disk-map.ts';
import { FAN_OUT } from './format.ts';
import type { MapNode } from './map-node.ts';

/** Reads a node that is not a hole. Undefined: what lies below it is left out. */
export type ReadNode = (reference: NodeReference, level: number, index: number) => Promise<MapNode | undefined> | MapNode | undefined;

export interface ComparedMap {
  readonly map: DiskMap;
  readonly read: ReadNode;
}

export interface LeafDifference {
  readonly leafIndex: number;
  readonly left: NodeReference;
  readonly right: NodeReference;
}

/** The leaves that differ, ascending. */
export async function* differingLeaves(left: ComparedMap, right: ComparedMap): AsyncGenerator<LeafDifference, void, undefined> {
  const level = Math.max(left.map.topLevel, right.map.topLevel);
  const sides = [
    { ...left, reference: left.map.top },
    { ...right, reference: right.map.top },
  ] as const;
  if (!areEqual(level, ...sides)) yield* differencesBelow(level, 0, ...sides);
}

interface Side extends ComparedMap {
  readonly reference: NodeReference;
}

/** Ids of one level can be compared, and holes of any. */
function areEqual(level: number, left: Side, right: Side): boolean {
  const isComparable = ({ map, reference }: Side): boolean => level <= map.topLevel || isHole(reference);
  return isComparable(left) && isComparable(right) && left.reference.id.equals(right.reference.id);
}

async function* differencesBelow(level: number, index: number, left: Side, right: Side): AsyncGenerator<LeafDifference, void, undefined> {
  const [lefts, rights] = [await childrenOf(left, level, index), await childrenOf(right, level, index)];
  if (lefts === undefined || rights === undefined) return;
  for (let child = 0; child < FAN_OUT; child += 1) {
    const [one, other] = [
      { ...left, reference: lefts[child] as NodeReference },
      { ...right, reference: rights[child] as NodeReference },
    ];
    if (areEqual(level - 1, one, other)) continue;
    const childIndex = index * FAN_OUT + child;
    if (level === 1) yield { leafIndex: childIndex, left: one.reference, right: other.reference };
    else yield* differencesBelow(level - 1, childIndex, one, other);
  }
}

const noChildren: readonly NodeReference[] = Array.from({ length: FAN_OUT }, () => holeReference);

/** A tree that is not so high has its top as the first child, or further below it. */
async function childrenOf({ map, reference, read }: Side, level: number, index: number): Promise<readonly NodeReference[] | undefined> {
  if (isHole(reference)) return noChildren;
  if (level > map.topLevel) return [reference, ...noChildren.slice(1)];
  const node = await read(reference, level, index);
  return node && Array.from({ length: FAN_OUT }, (_, child) => childOf(node, child));
}
