import { lockedVolume } from './access.ts';
import type { VolumesForTransfers } from './contract.ts';
import { lockVolume, move } from './store.ts';

export function createVolumesForTransfers(): VolumesForTransfers {
  return {
    lock: (tx, caller, id) => lockedVolume(tx, caller, id, 'volume:get'),
    lockAny: (tx, id) => lockVolume(tx.sql, id),
    begin: (tx, id) => move(tx.sql, id, 'transferBegun'),
    end: (tx, id, receiver) => move(tx.sql, id, 'transferEnded', receiver === undefined ? {} : { owner: receiver }),
  };
}
