/**
 * Snapshots come in bursts: a client that takes and deletes them, a schedule over many volumes. A merge in the midst of one would have to give way to the
 * next snapshot, and make it slower by that. So merges of a volume's disk wait until it has been left alone for a while, but not for ever.
 */
export interface Calm {
  /** The volume's disk was frozen. */
  disturb(volumeId: string): void;
  /** In how many milliseconds its layers may merge; 0: now. */
  waitMs(volumeId: string): number;
}

const calmAfterMs = 1_000;
const longestWaitMs = 10_000;

export function createCalm(now: () => number = () => performance.now()): Calm {
  const bursts = new Map<string, { readonly beganAtMs: number; readonly lastAtMs: number }>();
  const waitMs = (volumeId: string): number => {
    const burst = bursts.get(volumeId);
    if (burst === undefined) return 0;
    return Math.max(0, Math.min(burst.lastAtMs + calmAfterMs, burst.beganAtMs + longestWaitMs) - now());
  };
  return {
    disturb(volumeId) {
      for (const known of bursts.keys()) if (waitMs(known) === 0) bursts.delete(known);
      bursts.set(volumeId, { beganAtMs: bursts.get(volumeId)?.beganAtMs ?? now(), lastAtMs: now() });
    },
    waitMs,
  };
}
