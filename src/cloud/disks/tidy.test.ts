import { describe, expect, it } from 'vitest';
import { planTidy, type TidyLayer } from './tidy.ts';

/** `name<parent` with marks: `N` named, `T` a volume's top, `O` open; `p`, `m`, `d` = planned, merging, doomed. */
function layers(...texts: string[]): TidyLayer[] {
  return texts.map((text) => {
    const [, id = '', parent, marks = ''] = /^(\w+)(?:<(\w+))?(?::(\w+))?$/.exec(text) ?? [];
    const state = marks.includes('T') ? 'top' : marks.includes('p') ? 'planned' : marks.includes('m') ? 'merging' : 'frozen';
    return {
      id,
      parentId: parent ?? null,
      home: 'volume',
      format: 'qcow2',
      sizeBytes: 1,
      state: marks.includes('d') ? 'doomed' : state,
      named: marks.includes('N'),
      topOfVolume: marks.includes('T'),
      open: marks.includes('O'),
    };
  });
}

const removals = (...texts: string[]) => planTidy(layers(...texts)).remove.map(({ id }) => id);
const merges = (...texts: string[]) => planTidy(layers(...texts)).merge.map(({ older, younger }) => `${younger.id}->${older.id}`);

describe('what is removed', () => {
  it('is what no top and no named layer stands on, upper layers first', () => {
    expect(removals('a', 'b<a', 'c<b:T')).toEqual([]);
    expect(removals('a:N', 'b<a', 'c<b', 'd<b')).toEqual(['c', 'd', 'b']);
    expect(removals('a', 'b<a', 'c<b:d')).toEqual(['c', 'b', 'a']);
    expect(removals('a', 'b<a:N', 'c<a')).toEqual(['c']);
  });

  it('is not what an unfinished layer stands on, nor that layer itself', () => {
    const plan = planTidy(layers('a:d', 'b<a:p'));
    expect(plan.remove).toEqual([]);
    expect(plan.examine.map(({ id }) => id)).toEqual(['b']);
  });
});

describe('what is merged', () => {
  it('are unnamed neighbours, the younger into the older', () => {
    expect(merges('a', 'b<a', 'c<b:T')).toEqual(['b->a']);
    expect(merges('a:N', 'b<a', 'c<b', 'd<c:T')).toEqual(['c->b']);
  });

  it('is never a named layer, nor anything into one', () => {
    expect(merges('a:N', 'b<a', 'c<b:T')).toEqual([]);
    expect(merges('a', 'b<a:N', 'c<b:T')).toEqual([]);
  });

  it('is nothing where a branch begins, or somebody has the chain open', () => {
    expect(merges('a', 'b<a', 'c<b:T', 'd<a:T')).toEqual([]);
    expect(merges('a', 'b<a', 'c<b:T', 'd<b:T')).toEqual([]);
    expect(merges('a:O', 'b<a:O', 'c<b:TO')).toEqual([]);
    expect(merges('a', 'b<a', 'c<b:p')).toEqual([]);
  });

  it('goes on where it was interrupted, also when the younger has been named since', () => {
    expect(merges('a', 'b<a:m', 'c<b:T')).toEqual(['b->a']);
    expect(merges('a', 'b<a:mN', 'c<b:T')).toEqual(['b->a']);
  });
});
