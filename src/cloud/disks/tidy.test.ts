import { describe, expect, it } from 'vitest';
import { planTidy, type TidyLayer } from './tidy.ts';

/**
 * `name<parent@home#size` with marks: `N` named, `T` a volume's top, `O` open in the server of `volume`, `C` in that of `clone`, `R` for reading;
 * `p`, `m`, `d` = planned, merging, doomed.
 */
function layers(...texts: string[]): TidyLayer[] {
  return texts.map((text) => {
    const [, id = '', parent, home = 'volume', size = '1', marks = ''] =
      /^(\w+)(?:<(\w+))?(?:@(\w+))?(?:#(\d+))?(?::(\w+))?$/.exec(text) ?? [];
    const state = marks.includes('T') ? 'top' : marks.includes('p') ? 'planned' : marks.includes('m') ? 'merging' : 'frozen';
    return {
      id,
      parentId: parent ?? null,
      home,
      format: 'qcow2',
      sizeBytes: Number(size),
      state: marks.includes('d') ? 'doomed' : state,
      named: marks.includes('N'),
      topOfVolume: marks.includes('T'),
      openers: [
        ...(marks.includes('O') ? ['volume'] : []),
        ...(marks.includes('C') ? ['clone'] : []),
        ...(marks.includes('R') ? [''] : []),
      ],
    };
  });
}

const removals = (...texts: string[]) => planTidy(layers(...texts)).remove.map(({ id }) => id);
const merges = (...texts: string[]) =>
  planTidy(layers(...texts)).merge.map(
    ({ older, younger, server }) => `${younger.id}->${older.id}${server === null ? '' : ` by ${server}`}`,
  );

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

  it('is nothing where a branch begins', () => {
    expect(merges('a', 'b<a', 'c<b:T', 'd<a:T')).toEqual([]);
    expect(merges('a', 'b<a', 'c<b:T', 'd<b:T')).toEqual([]);
    expect(merges('a', 'b<a', 'c<b:p')).toEqual([]);
  });

  it('begins with the lowest, so that each layer is copied once', () => {
    expect(merges('d<c:T', 'c<b', 'b<a', 'a')).toEqual(['b->a', 'c->b']);
  });

  it('is merged by the one server that has the disk open', () => {
    expect(merges('a:O', 'b<a:O', 'c<b:TO')).toEqual(['b->a by volume']);
    expect(merges('a@image:O', 'b<a:O', 'c<b:O', 'd<c:TO')).toEqual(['c->b by volume']);
    expect(merges('a:O', 'b<a:Om', 'c<b:TO')).toEqual(['b->a by volume']);
  });

  it('is nothing that is open anywhere else, or in the files of another volume', () => {
    expect(merges('a:OR', 'b<a:OR', 'c<b:TOR')).toEqual([]);
    expect(merges('a:R', 'b<a:R', 'c<b:TR')).toEqual([]);
    expect(merges('a:OC', 'b<a:OC', 'c<b:NOC', 'd<c:TO', 'e<c@clone:TC')).toEqual([]);
    expect(merges('a:C', 'b<a:C', 'c<b:NC', 'd<c@clone:TC')).toEqual([]);
    expect(merges('a@image:O', 'b<a@image:O', 'c<b:TO')).toEqual([]);
    expect(merges('a@image:O', 'b<a:O', 'c<b:TO')).toEqual([]);
  });

  it('is not a smaller layer into a larger one below a server, but a larger one into a smaller', () => {
    expect(merges('a#2:O', 'b<a#1:O', 'c<b#1:TO')).toEqual([]);
    expect(merges('a#2', 'b<a#1', 'c<b#1:T')).toEqual(['b->a']);
    expect(merges('a#1:O', 'b<a#2:O', 'c<b#2:TO')).toEqual(['b->a by volume']);
  });

  it('goes on where it was interrupted, also when the younger has been named since', () => {
    expect(merges('a', 'b<a:m', 'c<b:T')).toEqual(['b->a']);
    expect(merges('a', 'b<a:mN', 'c<b:T')).toEqual(['b->a']);
  });
});
