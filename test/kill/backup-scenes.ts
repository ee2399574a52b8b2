/** Backups and what is restored from them. */
import type { Api } from '../support/api.ts';
import { scatteredBlocks } from '../support/disks.ts';
import { letGo, makeBackup, makeModel, mustHold, mustSettle, writeToVolume } from '../support/scenario.ts';
import { diskBytes, mustVanish, readHead, type Scene, volumeWithData } from './scene.ts';

export const backUp: Scene = {
  name: 'full and incremental backup',
  hasHelpers: true,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'kept');
    let round = 100;
    /** As in the scene of merges. */
    let isUncertain = false;
    const write = async (again: Api): Promise<void> => {
      if (!isUncertain) round += 1;
      isUncertain = true;
      await writeToVolume(again, id, model, scatteredBlocks(diskBytes, 3), round);
      isUncertain = false;
    };
    return {
      async operate(again) {
        await makeBackup(again, id);
        await write(again);
        await makeBackup(again, id, { incremental: true });
      },
      async check(again) {
        await letGo(again, id);
        if (isUncertain) await write(again);
        await mustHold(again, id, model);
        await mustRestoreNewest(again, id);
      },
    };
  },
};

/** The newest backup that is available restores (its root is compared on the way); one that failed says so. */
async function mustRestoreNewest(api: Api, volumeId: string): Promise<void> {
  const { backups } = await api.volume('GET', `/backups/detail?volume_id=${volumeId}`);
  for (const backup of backups)
    if (!['available', 'error'].includes(backup.status)) throw new Error(`backup ${backup.id} is ${backup.status}`);
  const newest = backups.find((backup: { status: string }) => backup.status === 'available');
  if (newest === undefined) return;
  const { restore } = await api.volume('POST', `/backups/${newest.id}/restore`, { restore: { name: 'check', volume_id: null } });
  await mustSettle(api, 'volumes', restore.volume_id, 'available');
  await mustSettle(api, 'backups', newest.id, 'available');
  await mustVanish(api, 'volumes', restore.volume_id);
}

export const restoreToNew: Scene = {
  name: 'restore to a new volume',
  hasHelpers: true,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'original');
    const backupId = await makeBackup(api, id);
    return {
      async operate(again) {
        const { restore } = await again.volume('POST', `/backups/${backupId}/restore`, { restore: { name: 'restored', volume_id: null } });
        await mustSettle(again, 'volumes', restore.volume_id, 'available');
        await mustSettle(again, 'backups', backupId, 'available');
        await mustHold(again, restore.volume_id, model);
        await mustVanish(again, 'volumes', restore.volume_id);
      },
      async check(again) {
        await mustSettle(again, 'backups', backupId, 'available');
        await mustHold(again, id, model);
        const { volumes } = await again.volume('GET', '/volumes/detail?name=restored');
        for (const volume of volumes) await mustVanish(again, 'volumes', volume.id);
      },
    };
  },
};

export const restoreInPlace: Scene = {
  name: 'restore over an existing volume',
  hasHelpers: true,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'twice');
    const older = await makeBackup(api, id);
    const olderModel = await makeModel(folder, 'twice.older', await readHead(model));
    await writeToVolume(api, id, model, scatteredBlocks(diskBytes, 9), 42);
    const newer = await makeBackup(api, id, { incremental: true });
    const restore = async (again: Api, backupId: string): Promise<void> => {
      await again.volume('POST', `/backups/${backupId}/restore`, { restore: { volume_id: id } });
      await mustSettle(again, 'volumes', id, 'available');
      await mustSettle(again, 'backups', backupId, 'available');
    };
    return {
      async operate(again) {
        await restore(again, older);
        await mustHold(again, id, olderModel);
        await restore(again, newer);
        await mustHold(again, id, model);
      },
      /** Whatever was interrupted: the disk is one of the two, whole. */
      async check(again) {
        await letGo(again, id);
        await mustSettle(again, 'volumes', id, 'available');
        await mustHold(again, id, model).catch(() => mustHold(again, id, olderModel));
      },
    };
  },
};

export const deleteBackup: Scene = {
  name: 'backup deletion',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'pruned');
    const first = await makeBackup(api, id);
    return {
      async operate(again) {
        await mustVanish(again, 'backups', await makeBackup(again, id, { incremental: true }));
      },
      async check(again) {
        await mustSettle(again, 'backups', first, 'available');
        await mustHold(again, id, model);
        await mustRestoreNewest(again, id);
      },
    };
  },
};
