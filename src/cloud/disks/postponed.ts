/** Work that was interrupted, and waits before it is tried again: longer after each time, because it begins anew and wears out the disk. */
export interface Postponed {
  mayRun(id: string): boolean;
  postpone(id: string): void;
  /** It was done, or it is not worth trying. */
  forget(id: string): void;
  /** Forgets all others. */
  keep(ids: readonly string[]): void;
  /** In how many milliseconds the next of what waits may run. Undefined: nothing waits. */
  dueInMs(): number | undefined;
}

const firstDelayMs = 5_000;
const growth = 4;
const longestDelayMs = 6 * 60 * 60 * 1000;

export function createPostponed(now: () => number = () => performance.now()): Postponed {
  const waiting = new Map<string, { readonly delayMs: number; readonly dueAtMs: number }>();
  return {
    mayRun: (id) => (waiting.get(id)?.dueAtMs ?? 0) <= now(),
    postpone(id) {
      const before = waiting.get(id)?.delayMs;
      const delayMs = before === undefined ? firstDelayMs : Math.min(before * growth, longestDelayMs);
      waiting.set(id, { delayMs, dueAtMs: now() + delayMs });
    },
    forget: (id) => void waiting.delete(id),
    keep(ids) {
      const kept = new Set(ids);
      for (const id of waiting.keys()) if (!kept.has(id)) waiting.delete(id);
    },
    dueInMs() {
      const times = [...waiting.values()].map(({ dueAtMs }) => dueAtMs - now()).filter((timeMs) => timeMs > 0);
      return times.length === 0 ? undefined : Math.min(...times);
    },
  };
}
