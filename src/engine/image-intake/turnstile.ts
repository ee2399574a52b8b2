/** Lets a few pass at once; the rest wait in line, first come, first served. Who aborts while waiting leaves the line. */
export interface Turnstile {
  pass<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

export function createTurnstile(placesMax: number): Turnstile {
  let freePlaces = placesMax;
  const line: (() => void)[] = [];

  function enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (freePlaces > 0) {
      freePlaces -= 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        line.splice(line.indexOf(admit), 1);
        reject(signal.reason);
      };
      line.push(admit);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  /** The place goes straight to the next in line, so that nobody who just arrived slips in. */
  function leave(): void {
    const next = line.shift();
    if (next === undefined) freePlaces += 1;
    else next();
  }

  return {
    async pass(work, signal) {
      await enter(signal);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
