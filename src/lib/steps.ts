/**
 * Work in steps: a generator that pauses at least every millisecond or so. Whoever has nothing else to do runs it to its end; a process that
 * answers requests gives others a turn in between.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

export type Steps<T> = Generator<void, T, void>;

const turnMs = 4;

export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** Never keeps the thread for longer than a few milliseconds and one step. */
export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  let turnStartedAt = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (performance.now() - turnStartedAt < turnMs) continue;
    await nextTurn();
    turnStartedAt = performance.now();
  }
}
