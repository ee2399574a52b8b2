/**
 * The way from a point to the nearest one whose content a repository knows.
 *
 * Points form a tree. The journal of a point says what changed since its parent, so one step along the tree, up from a point to its parent or
 * down from the parent to it, costs the journal of the lower of the two. The journals of all steps together hold everything that may differ
 * between both ends: on the way P → common ancestor → Q these are the journals of both sides, that of the ancestor excepted.
 */
import type { TreePoint } from './point-store.ts';

export interface Way {
  readonly end: TreePoint & { readonly session: string; readonly root: string };
  /** Whose journals lie on the way. */
  readonly steps: readonly TreePoint[];
}

/** `blocked`: points whose journal is not known. The nearest end by the number of steps; ancestors before others. */
export function findWay(tree: readonly TreePoint[], startId: string, blocked: ReadonlySet<string>): Way | undefined {
  const byId = new Map(tree.map((point) => [point.id, point]));
  const children = Map.groupBy(tree, (point) => point.parentId);
  const start = byId.get(startId);
  if (start === undefined) return undefined;

  const cameFrom = new Map<TreePoint, { from: TreePoint; journalOf: TreePoint } | undefined>([[start, undefined]]);
  const passable = (point: TreePoint): boolean => !blocked.has(point.id);
  // A Map keeps the order of insertion and may grow while it is walked: it is the queue of the breadth-first search.
  for (const point of cameFrom.keys()) {
    if (isKnown(point)) return { end: point, steps: stepsTo(point, cameFrom) };
    const parent = point.parentId === null ? undefined : byId.get(point.parentId);
    if (parent !== undefined && passable(point) && !cameFrom.has(parent)) cameFrom.set(parent, { from: point, journalOf: point });
    for (const child of children.get(point.id) ?? []) {
      if (passable(child) && !cameFrom.has(child)) cameFrom.set(child, { from: point, journalOf: child });
    }
  }
  return undefined;
}

const isKnown = (point: TreePoint): point is Way['end'] => point.session !== null && point.root !== null;

function stepsTo(end: TreePoint, cameFrom: ReadonlyMap<TreePoint, { from: TreePoint; journalOf: TreePoint } | undefined>): TreePoint[] {
  const steps: TreePoint[] = [];
  for (let step = cameFrom.get(end); step !== undefined; step = cameFrom.get(step.from)) steps.push(step.journalOf);
  return steps;
}
