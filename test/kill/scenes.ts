/** The scenes that the kill tests play: those of volumes, snapshots and images here, the others in files of their own. */
import { randomBytes } from 'node:crypto';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { restMs } from '../../src/cloud/disks/restless.ts';
import { scatteredBlocks, writeBlocks } from '../support/disks.ts';
import {
  connect,
  disconnect,
  letGo,
  makeImage,
  makeModel,
  makeSnapshot,
  makeVolume,
  mustHold,
  mustSettle,
  writeToVolume,
} from '../support/scenario.ts';
import { backUp, deleteBackup, restoreInPlace, restoreToNew } from './backup-scenes.ts';
import { groupSnapshot, groupSnapshotLive } from './group-scenes.ts';
import { diskBytes, mustVanish, readHead, type Scene, volumeWithData } from './scene.ts';
import { serverDisks, serverLife } from './server-scenes.ts';

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
  serverLife,
  serverDisks,
];
