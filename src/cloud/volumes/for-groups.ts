import type { Database } from '../database/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { TypeChoice } from '../volume-types/service.ts';
import { lockedVolume } from './access.ts';
import type { VolumesForGroups } from './contract.ts';
import { projectOf } from './create.ts';
import { quotaOfVolume } from './sizes.ts';
import { deleteVolume, insertVolume, lockMembers, memberIds, move, updateVolume } from './store.ts';

interface ForGroupsDeps {
  readonly database: Database;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly types: Pick<TypeChoice, 'choose'>;
}

export function createVolumesForGroups({ database, quotas, types }: ForGroupsDeps): VolumesForGroups {
  return {
    lockMembers: (tx, groupId) => lockMembers(tx.sql, groupId),
    memberIds: (groupIds) => memberIds(database.sql, groupIds),
    lock: (tx, caller, id) => lockedVolume(tx, caller, id, 'volume:get'),
    setGroup: (tx, id, groupId) => updateVolume(tx.sql, id, { groupId }),
    async typeIds(tx, caller, idsOrNames) {
      const ids: string[] = [];
      for (const asked of idsOrNames) ids.push((await types.choose(tx, caller, { asked, fromSource: null })).id);
      return [...new Set(ids)];
    },
    async insertCopies(tx, caller, copies) {
      const projectId = projectOf(caller);
      for (const { id, like, sizeGib, groupId, snapshotId } of copies) {
        // One after the other, each after the row of the one before: usage is what the rows say.
        await quotas.reserve(tx, projectId, quotaOfVolume(like.volumeType.name, sizeGib));
        await insertVolume(tx.sql, {
          id,
          projectId,
          userId: caller.userId,
          name: null,
          description: null,
          status: 'creating',
          sizeGib,
          availabilityZone: like.availabilityZone,
          volumeTypeId: like.volumeType.id,
          bootable: like.bootable,
          snapshotId,
          sourceVolumeId: snapshotId === null ? like.id : null,
          metadata: {},
          imageMetadata: like.imageMetadata,
          groupId,
        });
      }
    },
    async endCopy(tx, id, outcome) {
      await move(tx.sql, id, outcome === 'done' ? 'created' : 'createFailed');
    },
    beginDelete: (tx, id) => move(tx.sql, id, 'memberDeleteBegun'),
    remove: (tx, id) => deleteVolume(tx.sql, id),
    async failDelete(tx, id) {
      await move(tx.sql, id, 'deleteFailed');
    },
  };
}
