import { setTimeout as sleep } from 'node:timers/promises';

/** Looks until something holds, and rejects with its name when it does not within the time. */
export async function eventually(holds: () => boolean | Promise<boolean>, what: string, timeoutMs = 10_000): Promise<void> {
  for (const deadline = performance.now() + timeoutMs; !(await holds()); await sleep(20)) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
  }
}
