/** How much memory layers may take: a file system of a given size, as far as backends can tell. All in bytes. */
import { type Reservation, SpaceError } from '../../space/contract.ts';
import type { BlockAccount } from './memory-layer.ts';

export interface MemorySpace extends BlockAccount {
  /** Refuses with a `SpaceError` what does not fit beside what is taken, reserved and kept back. */
  reserve(bytes: number, options?: { readonly mayUseKept?: boolean }): Reservation;
  availableBytes(): number;
}

export function createMemorySpace({ capacityBytes, keptBytes }: { capacityBytes: number; keptBytes: number }): MemorySpace {
  let takenBytes = 0;
  let reservedBytes = 0;
  const room = (kept: number): number => capacityBytes - takenBytes - reservedBytes - kept;
  return {
    take(bytes) {
      // As a file system: what is reserved or kept back is not out of the reach of those who write already.
      if (takenBytes + bytes > capacityBytes) throw Object.assign(new Error('no space left in memory'), { code: 'ENOSPC' });
      takenBytes += bytes;
    },
    give(bytes) {
      takenBytes -= bytes;
    },
    reserve(bytes, options = {}) {
      let heldBytes = 0;
      const hold = (wanted: number): void => {
        if (wanted > 0 && wanted > room(options.mayUseKept === true ? 0 : keptBytes)) {
          throw new SpaceError(`Not enough space: ${wanted} bytes are needed.`);
        }
        reservedBytes += wanted;
        heldBytes += wanted;
      };
      hold(bytes);
      return {
        async extend(more) {
          hold(more);
        },
        release() {
          reservedBytes -= heldBytes;
          heldBytes = 0;
        },
      };
    },
    availableBytes: () => Math.max(0, room(keptBytes)),
  };
}
