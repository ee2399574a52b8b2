/** The use cases of images. What concerns their bytes is in `upload.ts`; lists are in `list.ts`. */
import { conflict, forbidden, gone, notFound } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { isUniqueViolation } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { ImageSources } from '../volumes/sources.ts';
import { authorise, visibleImage } from './access.ts';
import { applyChanges, checkLimits, checkSizes, checkVisibility, withoutRepeats } from './changes.ts';
import { type DeleteInput, deleteKind, deleteSaga } from './delete.job.ts';
import type { ImagesDeps } from './deps.ts';
import { createImagesForServers, type ImagesForServers } from './for-servers.ts';
import { fromVolumeKind } from './from-volume.job.ts';
import type { Image, ImageChange, NewImage } from './image.ts';
import { importKind, importSaga } from './import.job.ts';
import { createImageImports, type ImageImports } from './imports.ts';
import { type ImageQuery, listImages } from './list.ts';
import { createImageMembers, type ImageMembers } from './members.ts';
import { createMetadefs, type Metadefs } from './metadefs/service.ts';
import { prepareKind, prepareSaga } from './prepare.job.ts';
import { type ImageUsage, imageUsage, reserveImages } from './quota.ts';
import { imageSources } from './source.ts';
import type { TransitionName } from './states.ts';
import { changeStatus, deleteImage, findImage, insertImage, lockImage, saveImage } from './store.ts';
import { createImageBytes, type ImageDownload, type UploadBody } from './upload.ts';

export type { ImagesForServers } from './for-servers.ts';
export type { Image } from './image.ts';
export type { ImageImports, ImageTask, ImportMethod, ImportOrder } from './imports.ts';
export type { ImageMember, ImageMembers } from './members.ts';
export type { Converted, PointImage, Taken } from './point-image.ts';

export interface ImagesService {
  readonly members: ImageMembers;
  readonly metadefs: Metadefs;
  readonly imports: ImageImports;
  create(caller: Caller, order: NewImage): Promise<Image>;
  list(caller: Caller, query: ImageQuery): Promise<Image[]>;
  show(caller: Caller, id: string): Promise<Image>;
  update(caller: Caller, id: string, changes: readonly ImageChange[]): Promise<Image>;
  addTag(caller: Caller, id: string, tag: string): Promise<void>;
  removeTag(caller: Caller, id: string, tag: string): Promise<void>;
  delete(caller: Caller, id: string): Promise<void>;
  deactivate(caller: Caller, id: string): Promise<void>;
  reactivate(caller: Caller, id: string): Promise<void>;
  /** Resolves when the image is active. */
  upload(caller: Caller, id: string, body: UploadBody): Promise<void>;
  /** Resolves when the bytes are durable and wait for their import. */
  stage(caller: Caller, id: string, body: UploadBody): Promise<void>;
  /** Undefined: there are no bytes yet. */
  download(caller: Caller, id: string): Promise<ImageDownload | undefined>;
  /** What the caller's project may have of images, and has. */
  usage(caller: Caller): Promise<ImageUsage>;
  readonly forServers: ImagesForServers;
  /** The port that volumes need. */
  readonly sources: ImageSources;
  /** At start, before requests are served: settles images whose upload died with the process before. One service a state directory. */
  recover(): Promise<void>;
  /** Ends the uploads that are arriving. */
  stop(): void;
}

/** Also defines the sagas of images: make it before the jobs start working. */
export function createImagesService(deps: ImagesDeps): ImagesService {
  const { database, jobs, clock } = deps;
  const bytes = createImageBytes(deps);
  jobs.define(prepareSaga(deps));
  jobs.define(importSaga(deps));
  jobs.define(deleteSaga(deps));

  /** Changes one image that the caller may modify, its row locked meanwhile. */
  async function modify(caller: Caller, id: string, change: (image: Image) => Image): Promise<Image> {
    return await database.transact(async (tx) => {
      const image = await visibleImage(tx.sql, caller, id, lockImage);
      authorise(caller, 'image:update', image.owner);
      const changed = change(image);
      return changed === image ? image : await saveImage(tx.sql, changed, clock.nowText());
    });
  }

  async function switchTo(caller: Caller, id: string, action: 'deactivate' | 'reactivate'): Promise<void> {
    const transition: TransitionName = action === 'deactivate' ? 'deactivated' : 'reactivated';
    const reached = action === 'deactivate' ? 'deactivated' : 'active';
    await database.transact(async (tx) => {
      const image = await visibleImage(tx.sql, caller, id, lockImage);
      authorise(caller, 'image:deactivate', image.owner);
      if (image.status === reached) return;
      if (!(await changeStatus(tx.sql, id, transition, clock.nowText()))) {
        throw forbidden(`Not allowed to ${action} image in status '${image.status}'`);
      }
    });
  }

  return {
    members: createImageMembers(deps),
    metadefs: createMetadefs(deps),
    imports: createImageImports(deps),
    forServers: createImagesForServers(deps),
    sources: imageSources,
    upload: bytes.upload,
    stage: bytes.stage,
    download: bytes.download,
    recover: bytes.recover,
    stop: bytes.stop,

    async usage(caller) {
      authorise(caller, 'image:list', null);
      return await imageUsage(deps.quota, database.sql, caller.projectId ?? '');
    },

    async create(caller, order) {
      const image = newImage(caller, order);
      const id = order.id ?? newId();
      // The sagas of an image outlive it and go by its id: an id is used once.
      if (order.id !== undefined && (await jobs.find(id)).length > 0) throw duplicate(id);
      try {
        return await database.transact(async (tx) => {
          await reserveImages(deps.quota, tx, image.owner, { image_count_total: 1 });
          return await insertImage(tx.sql, id, image, clock.nowText());
        });
      } catch (error) {
        throw isUniqueViolation(error) ? duplicate(id) : error;
      }
    },

    async list(caller, query) {
      authorise(caller, 'image:list', null);
      return await listImages(database.sql, caller, query);
    },

    async show(caller, id) {
      const image = await visibleImage(database.sql, caller, id, findImage);
      authorise(caller, 'image:get', null);
      return image;
    },

    update: (caller, id, changes) => modify(caller, id, (image) => (changes.length === 0 ? image : applyChanges(caller, image, changes))),

    async addTag(caller, id, tag) {
      await modify(caller, id, (image) => {
        const changed = { ...image, tags: withoutRepeats([...image.tags, tag]) };
        checkLimits(changed);
        return changed;
      });
    },

    async removeTag(caller, id, tag) {
      await modify(caller, id, (image) => {
        if (!image.tags.includes(tag)) throw notFound('The resource could not be found.');
        return { ...image, tags: image.tags.filter((other) => other !== tag) };
      });
    },

    async delete(caller, id) {
      await database.transact(async (tx) => {
        const missing = () => notFound(`Failed to find image ${id} to delete`);
        const image = await visibleImage(tx.sql, caller, id, lockImage, missing);
        authorise(caller, 'image:delete', image.owner);
        if (image.protected) throw forbidden(`Image ${id} is protected and cannot be deleted.`);
        await deleteImage(tx.sql, id);
        for (const kind of [prepareKind, importKind, fromVolumeKind]) await jobs.requestCancel(tx, id, kind);
        const input: DeleteInput = { imageId: id, pointId: image.pointId };
        await jobs.start(tx, { kind: deleteKind, subjectId: id, projectId: image.owner, input });
        tx.afterCommit(() => bytes.interrupt(id, gone(`Image ${id} was deleted.`)));
      });
    },

    deactivate: (caller, id) => switchTo(caller, id, 'deactivate'),
    reactivate: (caller, id) => switchTo(caller, id, 'reactivate'),
  };
}

const duplicate = (id: string) => conflict(`Image ID ${id} already exists!`);

function newImage(caller: Caller, order: NewImage) {
  const owner = order.owner ?? caller.projectId;
  if (owner === null) throw forbidden('You are not authorized to complete add_image action.');
  authorise(caller, 'image:create', owner);
  const visibility = order.visibility ?? 'shared';
  checkVisibility(caller, owner, visibility);
  checkSizes(order);
  const image = {
    name: order.name ?? null,
    owner,
    visibility,
    protected: order.protected ?? false,
    hidden: order.hidden ?? false,
    containerFormat: order.containerFormat ?? null,
    diskFormat: order.diskFormat ?? null,
    minDiskGib: order.minDiskGib ?? 0,
    minRamMib: order.minRamMib ?? 0,
    tags: withoutRepeats(order.tags ?? []),
    properties: order.properties,
  };
  checkLimits(image);
  return image;
}
