/**
 * How fast a merge in a server copies: slowly while clients write to the disk, whose writes would wait, and faster while they do not. Whether they do is
 * seen by the time stamp of the top's file, which costs the server nothing. docs/decisions/0010-live-merges.md has the figures.
 */
import { stat } from 'node:fs/promises';

/** Bytes in a second. */
export interface MergePace {
  readonly whileWritten: number;
  readonly whileIdle: number;
}

const mib = 1024 * 1024;
export const defaultMergePace: MergePace = { whileWritten: 8 * mib, whileIdle: 32 * mib };

const idleAfterMs = 1_000;

/** Asked again and again, tells the pace for now. At first it takes the disk for one that is being written. */
export function createPaceKeeper(topPath: string, pace: MergePace, now: () => number = () => performance.now()): () => Promise<number> {
  let changedNs: bigint | undefined;
  let writtenAtMs = now();
  return async () => {
    const { mtimeNs } = await stat(topPath, { bigint: true });
    if (mtimeNs !== changedNs) writtenAtMs = now();
    changedNs = mtimeNs;
    return now() - writtenAtMs < idleAfterMs ? pace.whileWritten : pace.whileIdle;
  };
}
