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
