/** Limits how many sagas run at once, in all and of one kind. Who waits longest goes first, unless its kind has no room. */
export interface Slots {
  /** True when one of this kind could start now. */
  free(kind: string): boolean;
  /** Resolves with the function that gives the slot back. Rejects when `signal` aborts before. */
  acquire(kind: string, signal: AbortSignal): Promise<() => void>;
}

interface Waiter {
  readonly kind: string;
  readonly grant: () => void;
}

export function createSlots(totalMax: number, kindMax: (kind: string) => number): Slots {
  const running = new Map<string, number>();
  const waiting: Waiter[] = [];
  let total = 0;

  const hasRoom = (kind: string): boolean => total < totalMax && (running.get(kind) ?? 0) < kindMax(kind);

  function occupy(kind: string): () => void {
    total += 1;
    running.set(kind, (running.get(kind) ?? 0) + 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      total -= 1;
      running.set(kind, (running.get(kind) ?? 1) - 1);
      const next = waiting.findIndex((waiter) => hasRoom(waiter.kind));
      if (next >= 0) waiting.splice(next, 1)[0]?.grant();
    };
  }

  return {
    free: hasRoom,
    acquire(kind, signal) {
      if (signal.aborted) return Promise.reject(signal.reason);
      if (hasRoom(kind)) return Promise.resolve(occupy(kind));
      return new Promise((resolve, reject) => {
        const leave = (): void => {
          const index = waiting.indexOf(waiter);
          if (index >= 0) waiting.splice(index, 1);
          reject(signal.reason);
        };
        const waiter: Waiter = {
          kind,
          grant: () => {
            signal.removeEventListener('abort', leave);
            resolve(occupy(kind));
          },
        };
        waiting.push(waiter);
        signal.addEventListener('abort', leave, { once: true });
      });
    },
  };
}
