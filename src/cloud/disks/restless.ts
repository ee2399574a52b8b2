/**
 * Volumes whose snapshots follow closely on each other. A merge that starts between two of them would have to give way to the next one, which then
 * waits for that, and would begin anew; so their layers are merged when there has been none for a while, unless too many wait for it.
 */
export interface Restless {
  /** A point of the volume was made, or is about to be. */
  frozen(volumeId: string): void;
  /** `waiting`: how many merges of the volume's layers could be done. */
  mayMerge(volumeId: string, waiting: number): boolean;
  /** In how many milliseconds the next of the volumes that were asked for is at rest. Undefined: all are. */
  restInMs(volumeIds: readonly string[]): number | undefined;
}

export const restMs = 2_000;
/** Each makes a snapshot of an open disk take about 20 microseconds longer. */
const waitingMax = 512;

export function createRestless(now: () => number = () => performance.now()): Restless {
  /** Oldest first. */
  const restAt = new Map<string, number>();
  const restless = (): ReadonlyMap<string, number> => {
    for (const [id, atMs] of restAt) {
      if (atMs > now()) break;
      restAt.delete(id);
    }
    return restAt;
  };
  return {
    frozen(volumeId) {
      restAt.delete(volumeId);
      restless();
      restAt.set(volumeId, now() + restMs);
    },
    mayMerge: (volumeId, waiting) => waiting > waitingMax || !restless().has(volumeId),
    restInMs(volumeIds) {
      const times = volumeIds.map((id) => restless().get(id)).filter((atMs) => atMs !== undefined);
      return times.length === 0 ? undefined : Math.min(...times) - now();
    },
  };
}
