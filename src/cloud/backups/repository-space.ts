/**
 * A repository on a disk of this machine keeps the same space back as volumes do: often it is the same disk, and deleting needs room, too.
 *
 * How much a backup will add is not known before it is done, because most of it may be there already. So it begins when there is any space, and is
 * ended when what is kept back, or reserved by others, would be next.
 */
import { type SpaceAccount, SpaceError } from '../../engine/space/contract.ts';
import type { RepositoryAddress } from '../../engine/transfer/contract.ts';

/** The least that a backup adds: a map, a commit, what is half-written meanwhile. */
const leastBytes = 2 ** 20;
const mib = 2 ** 20;

export async function requireSpaceIn(space: SpaceAccount, { store }: RepositoryAddress): Promise<void> {
  (await space.reserve({ path: `${store.path}/new`, bytes: leastBytes, purpose: 'the backup' })).release();
}

export interface SpaceGuard {
  /** Aborted, with a `SpaceError`, when the space has come to its end. */
  readonly signal: AbortSignal;
  /** To be called now and then. */
  look(): void;
}

export function guardSpaceIn(space: SpaceAccount, { store }: RepositoryAddress): SpaceGuard {
  const controller = new AbortController();
  let looking = false;
  const lookOnce = async (): Promise<void> => {
    const { freeBytes, reservedBytes, keptBytes } = await space.figures(store.path);
    if (freeBytes - reservedBytes >= keptBytes) return;
    const kept = Math.ceil((keptBytes + reservedBytes) / mib);
    controller.abort(new SpaceError(`Not enough space for the backup: only the ${kept} MiB kept back are left on the repository's disk.`));
  };
  return {
    signal: controller.signal,
    look() {
      if (looking) return;
      looking = true;
      // A disk that cannot be asked now says why to the backup itself.
      lookOnce()
        .catch(() => {})
        .finally(() => {
          looking = false;
        });
    },
  };
}
