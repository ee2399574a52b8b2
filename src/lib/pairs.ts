import { notFound } from './errors.ts';

export type Pairs = { readonly [key: string]: string };

/** How metadata changes: pairs are merged into what is there, or take its place, or one key goes. */
export type PairsChange =
  | { readonly kind: 'merge'; readonly pairs: Pairs }
  | { readonly kind: 'replace'; readonly pairs: Pairs }
  | { readonly kind: 'remove'; readonly key: string };

export function changedPairs(current: Pairs, change: PairsChange): Pairs {
  if (change.kind === 'replace') return change.pairs;
  if (change.kind === 'merge') return { ...current, ...change.pairs };
  if (!Object.hasOwn(current, change.key)) throw notFound('Metadata item was not found');
  return Object.fromEntries(Object.entries(current).filter(([key]) => key !== change.key));
}
