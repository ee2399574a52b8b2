import { describe, expect, it } from 'vitest';
import type { StoredLayer } from '../../engine/volumes/inventory-contract.ts';
import { judgeLayer, type LayerFacts, treeOf } from './reconcile-layer-rules.ts';

const row = (id: string, changes: Partial<LayerFacts> = {}): LayerFacts => ({
  id,
  parentId: null,
  home: 'home',
  format: 'qcow2',
  sizeBytes: 10,
  state: 'frozen',
  version: '1',
  hasPoint: false,
  ...changes,
});
const file = (id: string, changes: Partial<StoredLayer> = {}, below: string | null = null): StoredLayer => ({
  id,
  home: 'home',
  format: 'qcow2',
  allocatedBytes: 1,
  isShared: false,
  modifiedAt: new Date(0),
  content: { sizeBytes: 10, below: below === null ? null : { id: below, home: 'home', format: 'qcow2' } },
  damage: undefined,
  openMark: 'none',
  isKept: false,
  ...changes,
});
const judged = (rows: readonly LayerFacts[], id: string, files: readonly StoredLayer[]) =>
  judgeLayer(treeOf(rows), id, files).map(({ kind }) => kind);

describe('a file and a row', () => {
  it('agree', () => {
    expect(judged([row('a')], 'a', [file('a')])).toEqual([]);
    expect(judged([row('a'), row('b', { parentId: 'a', state: 'top' })], 'b', [file('b', {}, 'a')])).toEqual([]);
    expect(judged([row('a', { format: 'raw' })], 'a', [file('a', { format: 'raw' })])).toEqual([]);
  });

  it('miss each other', () => {
    expect(judged([row('a')], 'a', [])).toEqual(['layer-missing']);
    expect(judged([row('a', { state: 'top' })], 'a', [])).toEqual(['layer-missing']);
    expect(judged([], 'a', [file('a')])).toEqual(['layer-unknown']);
    expect(judged([], 'a', [file('a', { isKept: true })])).toEqual([]);
  });

  it('may miss each other while the layer is made or removed', () => {
    for (const state of ['planned', 'doomed'] as const) {
      expect(judged([row('a', { state })], 'a', [])).toEqual([]);
      expect(judged([row('a', { state })], 'a', [file('a', { content: undefined, damage: 'half of it' })])).toEqual([]);
    }
  });

  it('are in different places', () => {
    expect(judged([row('a')], 'a', [file('a', { home: 'other' })])).toEqual(['layer-misplaced', 'layer-missing']);
    expect(judged([row('a')], 'a', [file('a'), file('a', { home: 'other' })])).toEqual(['layer-misplaced']);
    expect(judged([row('a')], 'a', [file('a', { format: 'raw' })])).toEqual(['layer-misplaced', 'layer-missing']);
  });

  it('differ in what is below', () => {
    const rows = [row('a'), row('x'), row('b', { parentId: 'a', state: 'top' })];
    expect(judged(rows, 'b', [file('b', {}, 'x')])).toEqual(['parent-differs']);
    expect(judged(rows, 'b', [file('b')])).toEqual(['parent-differs']);
    expect(judged(rows, 'a', [file('a', {}, 'x')])).toEqual(['parent-differs']);
  });

  it('differ in size, or cannot be read, or were left open', () => {
    expect(judged([row('a')], 'a', [file('a', { content: { sizeBytes: 9, below: null } })])).toEqual(['size-differs']);
    expect(judged([row('a')], 'a', [file('a', { content: undefined, damage: 'torn' })])).toEqual(['layer-damaged']);
    expect(judged([row('a')], 'a', [file('a', { openMark: 'left' })])).toEqual(['space-leaked']);
    expect(judged([row('a')], 'a', [file('a', { openMark: 'live' })])).toEqual([]);
  });
});

describe('a merge', () => {
  const merging = [row('a'), row('b', { parentId: 'a', state: 'merging', sizeBytes: 20 }), row('c', { parentId: 'b', state: 'top' })];

  it('may have made the child stand on the older layer already, and given that the size of the younger', () => {
    expect(judged(merging, 'c', [file('c', {}, 'a')])).toEqual([]);
    expect(judged(merging, 'c', [file('c', {}, 'b')])).toEqual([]);
    expect(judged(merging, 'c', [file('c')])).toEqual(['parent-differs']);
    expect(judged(merging, 'a', [file('a', { content: { sizeBytes: 20, below: null }, openMark: 'left' })])).toEqual([]);
    expect(judged(merging, 'b', [file('b', {}, 'a')])).toEqual([]);
  });

  it('that was given up leaves an unnamed layer with the size of the next', () => {
    const given = [row('a'), row('b', { parentId: 'a', sizeBytes: 20 })];
    const grown = file('a', { content: { sizeBytes: 20, below: null } });
    expect(judged(given, 'a', [grown])).toEqual([]);
    // Not one that somebody may read by itself, nor one on which two stand.
    expect(judged([row('a', { hasPoint: true }), row('b', { parentId: 'a', sizeBytes: 20 })], 'a', [grown])).toEqual(['size-differs']);
    expect(judged([...given, row('d', { parentId: 'a' })], 'a', [grown])).toEqual(['size-differs']);
  });

  it('hides neither a missing file nor a damaged one', () => {
    expect(judged(merging, 'a', [])).toEqual(['layer-missing']);
    expect(judged(merging, 'b', [file('b', { content: undefined, damage: 'torn' })])).toEqual(['layer-damaged']);
  });
});
