import { randomBytes } from 'node:crypto';
import { readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { restMs } from '../../src/cloud/disks/restless.ts';
import type { Api } from '../support/api.ts';
import { scatteredBlocks, writeBlocks } from '../support/disks.ts';
import {
  connect,
  disconnect,
  letGo,
  makeBackup,
  makeImage,
  makeModel,
  makeSnapshot,
  makeVolume,
  mustHold,
  mustSettle,
  writeToVolume,
} from '../support/scenario.ts';

/**
 * One long operation as the kill tests need it: what has to be there first, the operation, and what must hold whatever happened to it.
 * All in terms of the public APIs. An operation may run any number of times on one service.
 */
export interface Scene {
  readonly name: string;
  /** The data mover or the server of a disk takes part in it. */
  readonly hasHelpers: boolean;
  prepare(api: Api, folder: string): Promise<PreparedScene>;
}

export interface PreparedScene {
  /** Runs the operation to its end. Throws when it does not end well; a dying service makes it throw too. */
  operate(api: Api): Promise<void>;
  /** Every byte that was acknowledged earlier is still there. */
  check(api: Api): Promise<void>;
}

const diskMib = 24;
const diskBytes = diskMib << 20;

/** A volume of 24 MiB of data (a third of it zeroes) in 1 GiB, with a file that holds the same. */
async function volumeWithData(api: Api, folder: string, name: string): Promise<{ id: string; model: string; image: string }> {
  const bytes = Buffer.concat([randomBytes(diskBytes / 3), Buffer.alloc(diskBytes / 3), Buffer.alloc(diskBytes / 3, 'stillpoint ')]);
  const image = await makeImage(api, name, bytes);
  const id = await makeVolume(api, { imageRef: image }, name);
  const model = await makeModel(folder, `${name}.model`, bytes);
  await writeToVolume(api, id, model, scatteredBlocks(diskBytes, 5), 7);
  return { id, model, image };
}

async function mustVanish(api: Api, collection: 'volumes' | 'snapshots' | 'backups', id: string): Promise<void> {
  if (collection === 'volumes') await letGo(api, id);
  await api.volume('DELETE', `/${collection}/${id}`);
  const left = await api.settled(collection, id);
  if (left !== undefined) throw new Error(`${collection} ${id} is ${left.status}, not gone`);
}

const uploadImage: Scene = {
  name: 'image upload',
  hasHelpers: false,
  async prepare() {
    const bytes = randomBytes(3 << 20);
    return {
      async operate(api) {
        await makeImage(api, 'upload', bytes);
      },
      async check(api) {
        const { images } = await api.image('GET', '/images?limit=100');
        for (const image of images) {
          if (!['active', 'queued'].includes(image.status)) throw new Error(`image ${image.id} is ${image.status}`);
          await api.image('DELETE', `/images/${image.id}`);
        }
      },
    };
  },
};

const createVolume: Scene = {
  name: 'volume from image',
  hasHelpers: false,
  async prepare(api, folder) {
    const { image, id, model } = await volumeWithData(api, folder, 'source');
    return {
      async operate(again) {
        const volumeId = await makeVolume(again, { imageRef: image }, 'made');
        await mustVanish(again, 'volumes', volumeId);
      },
      check: (again) => mustHold(again, id, model),
    };
  },
};

const cloneVolume: Scene = {
  name: 'volume from volume',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'source');
    return {
      async operate(again) {
        const cloneId = await makeVolume(again, { source_volid: id }, 'clone');
        await mustHold(again, cloneId, model);
        await mustVanish(again, 'volumes', cloneId);
      },
      check: (again) => mustHold(again, id, model),
    };
  },
};

const extendVolume: Scene = {
  name: 'extend',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'growing');
    return {
      async operate(again) {
        const { volume } = await again.volume('GET', `/volumes/${id}`);
        await again.volume('POST', `/volumes/${id}/action`, { 'os-extend': { new_size: volume.size + 1 } });
        await mustSettle(again, 'volumes', id, 'available');
      },
      async check(again) {
        const { volume } = await again.volume('GET', `/volumes/${id}`);
        await truncate(model, volume.size * 2 ** 30);
        await mustHold(again, id, model);
      },
    };
  },
};

const snapshotOffline: Scene = {
  name: 'snapshot and its deletion',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'still');
    let round = 0;
    return {
      async operate(again) {
        const snapshotId = await makeSnapshot(again, id);
        round += 1;
        await writeToVolume(again, id, model, scatteredBlocks(diskBytes, 3, 4096), round);
        await mustVanish(again, 'snapshots', snapshotId);
      },
      check: (again) => mustHold(again, id, model),
    };
  },
};

const snapshotLive: Scene = {
  name: 'snapshot of a connected volume',
  hasHelpers: true,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'live');
    await connect(api, id);
    return {
      async operate(again) {
        await makeSnapshot(again, id);
      },
      async check(again) {
        const { volume } = await again.volume('GET', `/volumes/${id}`);
        if (volume.status !== 'in-use') throw new Error(`the volume is ${volume.status}`);
        await disconnect(again, id);
        await mustHold(again, id, model);
        await connect(again, id);
      },
    };
  },
};

/** Long enough for the housekeeping that follows a deletion, once the volume is at rest. */
const mergesWithinMs = restMs + 1_500;

const mergeLive: Scene = {
  name: 'layers merge below a connected volume',
  hasHelpers: true,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'merging');
    let round = 500;
    /** A round of writes that the server of the disk did not live to acknowledge: part of it may be there. */
    let isUncertain = false;
    const write = async (uri: string): Promise<void> => {
      if (!isUncertain) round += 1;
      isUncertain = true;
      await writeBlocks(uri, model, scatteredBlocks(diskBytes, 4), round);
      isUncertain = false;
    };
    return {
      async operate(again) {
        await letGo(again, id);
        const uri = await connect(again, id);
        const snapshotIds: string[] = [];
        for (let count = 0; count < 3; count += 1) {
          await write(uri);
          snapshotIds.push(await makeSnapshot(again, id));
        }
        for (const snapshotId of snapshotIds) await mustVanish(again, 'snapshots', snapshotId);
        await sleep(mergesWithinMs);
        await disconnect(again, id);
      },
      async check(again) {
        await letGo(again, id);
        if (isUncertain) {
          await write(await connect(again, id));
          await disconnect(again, id);
        }
        await mustHold(again, id, model);
      },
    };
  },
};

const revertVolume: Scene = {
  name: 'revert',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'reverted');
    const snapshotId = await makeSnapshot(api, id);
    const snapshotModel = await makeModel(folder, 'reverted.snapshot', await readHead(model));
    let round = 900;
    return {
      async operate(again) {
        round += 1;
        await writeToVolume(
          again,
          id,
          await makeModel(folder, 'reverted.now', await readHead(snapshotModel)),
          scatteredBlocks(diskBytes, 3),
          round,
        );
        const { status } = await again.raw('POST', `/api/v1/volumes/${id}/revert`, { snapshot_id: snapshotId });
        if (status !== 202) throw new Error(`revert: ${status}`);
        await mustSettle(again, 'volumes', id, 'available');
        await mustHold(again, id, snapshotModel);
      },
      /** Reverted, or not, or not even written to. */
      async check(again) {
        await letGo(again, id);
        await mustSettle(again, 'volumes', id, 'available');
        await mustSettle(again, 'snapshots', snapshotId, 'available');
        await mustHold(again, id, snapshotModel).catch(() => mustHold(again, id, join(folder, 'reverted.now')));
        const clone = await makeVolume(again, { snapshot_id: snapshotId }, 'from the snapshot');
        await mustHold(again, clone, snapshotModel);
        await mustVanish(again, 'volumes', clone);
      },
    };
  },
};

const reimageVolume: Scene = {
  name: 'an image put on a volume',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'reimaged');
    const bytes = randomBytes(diskBytes / 3);
    const [other, otherModel] = [await makeImage(api, 'other', bytes), await makeModel(folder, 'other.model', bytes)];
    return {
      async operate(again) {
        await again.volume('POST', `/volumes/${id}/action`, { 'os-reimage': { image_id: other } });
        await mustSettle(again, 'volumes', id, 'available');
        await mustHold(again, id, otherModel);
      },
      /** The one or the other, never something between. */
      async check(again) {
        await letGo(again, id);
        await mustSettle(again, 'volumes', id, 'available');
        await mustHold(again, id, otherModel).catch(() => mustHold(again, id, model));
      },
    };
  },
};

const cascadeDelete: Scene = {
  name: 'deletion of a volume with its snapshots',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'stays');
    return {
      async operate(again) {
        const cloneId = await makeVolume(again, { source_volid: id }, 'goes');
        for (let count = 0; count < 2; count += 1) await makeSnapshot(again, cloneId);
        await again.volume('DELETE', `/volumes/${cloneId}?cascade=True`);
        const left = await again.settled('volumes', cloneId);
        if (left !== undefined) throw new Error(`the volume is ${left.status}, not gone`);
      },
      /** Gone with its snapshots, or there with all of them. */
      async check(again) {
        await mustHold(again, id, model);
        const { volumes } = await again.volume('GET', '/volumes/detail?name=goes');
        for (const volume of volumes) {
          await again.volume('DELETE', `/volumes/${volume.id}?cascade=True`);
          const left = await again.settled('volumes', volume.id);
          if (left !== undefined) throw new Error(`the volume is ${left.status}, not gone`);
        }
        const { snapshots } = await again.volume('GET', '/snapshots');
        if (snapshots.length > 0) throw new Error(`${snapshots.length} snapshots are left without their volume`);
      },
    };
  },
};

const groupSnapshot: Scene = {
  name: 'group snapshot, a group made of it, and their deletion',
  hasHelpers: false,
  async prepare(api, folder) {
    const { groupId, members } = await groupWithData(api, folder);
    return {
      async operate(again) {
        const call = again.volume;
        const source = { 'create-from-src': { name: 'copy', group_snapshot_id: await snapshotGroup(call, groupId) } };
        const { group: copy } = await call('POST', '/groups/action', source);
        await untilStatus(call, 'group', copy.id, 'available');
        await deleteAllOf(call, groupId);
      },
      /** All parts or none; and every byte of the members. */
      async check(again) {
        const call = again.volume;
        await mustHaveAllPartsOrNone(call, members.length);
        await deleteAllOf(call, groupId);
        for (const { id, model } of members) await mustHold(again, id, model);
      },
    };
  },
};

/** The members are connected while it is made, and stay so. */
const groupSnapshotLive: Scene = {
  name: 'group snapshot of connected volumes',
  hasHelpers: true,
  async prepare(api, folder) {
    const { groupId, members } = await groupWithData(api, folder);
    for (const { id } of members) await connect(api, id);
    return {
      operate: async (again) => void (await snapshotGroup(again.volume, groupId)),
      async check(again) {
        await mustHaveAllPartsOrNone(again.volume, members.length);
        await deleteAllOf(again.volume, groupId);
        for (const { id, model } of members) {
          await mustHold(again, id, model);
          await connect(again, id);
        }
      },
    };
  },
};

type Call = Api['volume'];

async function groupWithData(api: Api, folder: string): Promise<{ groupId: string; members: { id: string; model: string }[] }> {
  const { group_type: type } = await api.volume('POST', '/group_types', { group_type: { name: `of ${folder}` } });
  const order = { group_type: type.id, volume_types: ['__DEFAULT__'] };
  const { group } = await api.volume('POST', '/groups', { group: { name: 'members', ...order } });
  const members = [await volumeWithData(api, folder, 'first'), await volumeWithData(api, folder, 'second')];
  await api.volume('PUT', `/groups/${group.id}`, { group: { add_volumes: members.map(({ id }) => id).join(',') } });
  return { groupId: group.id, members };
}

async function snapshotGroup(call: Call, groupId: string): Promise<string> {
  const { group_snapshot: snapshot } = await call('POST', '/group_snapshots', { group_snapshot: { group_id: groupId } });
  await untilStatus(call, 'group_snapshot', snapshot.id, 'available');
  return snapshot.id;
}

async function mustHaveAllPartsOrNone(call: Call, memberCount: number): Promise<void> {
  for (const { id, status } of (await call('GET', '/group_snapshots/detail')).group_snapshots) {
    const { snapshots } = await call('GET', `/snapshots/detail?group_snapshot_id=${id}`);
    const parts = snapshots.map((part: { status: string }) => part.status);
    if (parts.length !== memberCount || parts.some((part: string) => part !== status)) {
      throw new Error(`group snapshot ${id} is ${status}, its parts are ${parts}`);
    }
  }
}

async function untilStatus(call: Call, kind: 'group' | 'group_snapshot', id: string, wanted: string): Promise<void> {
  for (;;) {
    const { status } = (await call('GET', `/${kind}s/${id}`))[kind];
    if (status === wanted) return;
    if (status !== 'creating') throw new Error(`${kind} ${id} is ${status}, not ${wanted}`);
    await sleep(20);
  }
}

/** Group snapshots, then every group but one. */
async function deleteAllOf(call: Call, keptGroupId: string): Promise<void> {
  for (const { id } of (await call('GET', '/group_snapshots')).group_snapshots) await call('DELETE', `/group_snapshots/${id}`);
  while ((await call('GET', '/group_snapshots')).group_snapshots.length > 0) await sleep(20);
  const groupIds = async (): Promise<string[]> =>
    (await call('GET', '/groups')).groups.map(({ id }: { id: string }) => id).filter((id: string) => id !== keptGroupId);
  for (const id of await groupIds()) await call('POST', `/groups/${id}/action`, { delete: { 'delete-volumes': true } });
  while ((await groupIds()).length > 0) await sleep(20);
}

const imageOfVolume: Scene = {
  name: 'image of a volume',
  hasHelpers: false,
  async prepare(api, folder) {
    const { id, model } = await volumeWithData(api, folder, 'pictured');
    return {
      async operate(again) {
        const order = { 'os-volume_upload_image': { image_name: 'picture', disk_format: 'qcow2' } };
        const { 'os-volume_upload_image': made } = await again.volume('POST', `/volumes/${id}/action`, order);
        await mustSettle(again, 'volumes', id, 'available');
        const { status } = await again.image('GET', `/images/${made.image_id}`);
        if (status !== 'active') throw new Error(`the image is ${status}`);
        const fromImage = await makeVolume(again, { imageRef: made.image_id }, 'from the picture');
        await mustHold(again, fromImage, model);
        await mustVanish(again, 'volumes', fromImage);
        await again.image('DELETE', `/images/${made.image_id}`);
      },
      /** Active, or queued for another try; the volume is free either way. */
      async check(again) {
        await mustSettle(again, 'volumes', id, 'available');
        const { images } = await again.image('GET', '/images?name=picture');
        for (const image of images) {
          if (!['active', 'queued'].includes(image.status)) throw new Error(`image ${image.id} is ${image.status}`);
          await again.image('DELETE', `/images/${image.id}`);
        }
        const { volumes } = await again.volume('GET', '/volumes/detail?name=from%20the%20picture');
        for (const volume of volumes) await mustVanish(again, 'volumes', volume.id);
        await mustHold(again, id, model);
      },
    };
  },
};

const backUp: Scene = {
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

const restoreToNew: Scene = {
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

const restoreInPlace: Scene = {
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

const readHead = async (model: string): Promise<Buffer> => (await readFile(model)).subarray(0, diskBytes);

const deleteBackup: Scene = {
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

export const scenes: readonly Scene[] = [
  uploadImage,
  createVolume,
  cloneVolume,
  extendVolume,
  snapshotOffline,
  snapshotLive,
  mergeLive,
  revertVolume,
  reimageVolume,
  cascadeDelete,
  groupSnapshot,
  groupSnapshotLive,
  imageOfVolume,
  backUp,
  restoreToNew,
  restoreInPlace,
  deleteBackup,
];
