import { seededRandom } from '../../src/lib/random.ts';

/** Choices that a seed determines. */
export interface Dice {
  /** A whole number from 0 to below `limit`; 0 when there is none. */
  below(limit: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
}

export function dice(seed: number): Dice {
  const next = seededRandom(seed);
  const below = (limit: number): number => Math.floor(next() * Math.max(1, limit));
  return {
    below,
    chance: (probability) => next() < probability,
    pick<T>(items: readonly T[]): T {
      if (items.length === 0) throw new RangeError('nothing to pick from');
      return items[below(items.length)] as T;
    },
  };
}
