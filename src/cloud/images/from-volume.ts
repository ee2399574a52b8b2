/** The request to make an image of a volume: the volume is busy, the image is there at once, and the saga fills it; one transaction. */
import { type ExportFormat, isExportFormat } from '../../engine/image-intake/export-disk.ts';
import { badRequest, forbidden } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { StringMap, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { isAllowed } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { TypeChoice, VolumeType } from '../volume-types/service.ts';
import type { Volume, VolumesForImages } from '../volumes/service.ts';
import { checkLimits, checkVisibility } from './changes.ts';
import { type FromVolumeDeps, type FromVolumeInput, fromVolumeKind, fromVolumeSaga } from './from-volume.job.ts';
import type { Image, Visibility } from './image.ts';
import { reserveImages } from './quota.ts';
import { changeStatus, insertImage } from './store.ts';

export interface VolumeImageOrder {
  readonly volumeId: string;
  readonly name: string;
  readonly diskFormat: string;
  readonly containerFormat: string;
  readonly visibility: Visibility;
  readonly protected: boolean;
}

export interface VolumeImage {
  readonly volume: Volume;
  readonly type: VolumeType;
  readonly image: Image;
}

export interface VolumeImages {
  /** Returns the volume as it is now with its type, and the image that it becomes. */
  create(caller: Caller, order: VolumeImageOrder): Promise<VolumeImage>;
}

export interface VolumeImagesDeps extends Omit<FromVolumeDeps, 'volumes'> {
  readonly jobs: Pick<Jobs, 'start' | 'define'>;
  readonly volumes: VolumesForImages;
  readonly types: Pick<TypeChoice, 'byId'>;
}

/** Also defines the saga, so it comes before `jobs.startWorking`. */
export function createVolumeImages(deps: VolumeImagesDeps): VolumeImages {
  deps.jobs.define(fromVolumeSaga(deps));
  return { create: (caller, order) => deps.database.transact((tx) => begin(deps, tx, caller, order)) };
}

async function begin(deps: VolumeImagesDeps, tx: Tx, caller: Caller, order: VolumeImageOrder): Promise<VolumeImage> {
  const owner = caller.projectId;
  if (owner === null) throw badRequest('Malformed request url');
  await deps.volumes.lock(tx, caller, order.volumeId);
  if (!isAllowed(caller, 'image:create', { projectId: owner }))
    throw forbidden("Policy doesn't allow volume:upload_image to be performed.");
  const format = checkedFormat(order.diskFormat);
  if (order.visibility === 'public' && !isAllowed(caller, 'image:publicize', { projectId: null })) {
    throw forbidden("Policy doesn't allow volume_extension:volume_actions:upload_public to be performed.");
  }
  checkVisibility(caller, owner, order.visibility);
  const volume = await deps.volumes.beginUpload(tx, caller, order.volumeId);
  const properties = inheritedProperties(volume.imageMetadata);
  checkLimits({ properties, tags: [] });
  await reserveImages(deps.quota, tx, owner, { image_count_total: 1, image_count_uploading: 1 });
  const id = newId();
  const { containerFormat, diskFormat, name, visibility } = order;
  const minimums = { minDiskGib: wholeNumber(volume.imageMetadata.min_disk), minRamMib: wholeNumber(volume.imageMetadata.min_ram) };
  const attributes = { name, owner, visibility, protected: order.protected, hidden: false, containerFormat, diskFormat, ...minimums };
  const image = await insertImage(tx.sql, id, { ...attributes, tags: [], properties }, deps.clock.nowText());
  await changeStatus(tx.sql, id, 'uploadBegun', deps.clock.nowText());
  const ids = { pointId: newId(), topLayerId: newId(), convertedId: newId(), uploadId: newId() };
  const input: FromVolumeInput = { imageId: id, volumeId: volume.id, format, ...ids };
  await deps.jobs.start(tx, { kind: fromVolumeKind, subjectId: id, projectId: owner, input, requestId: caller.requestId });
  return { volume: { ...volume, status: 'uploading' }, type: await deps.types.byId(tx, volume.volumeType.id), image };
}

function checkedFormat(diskFormat: string): ExportFormat {
  if (isExportFormat(diskFormat)) return diskFormat;
  throw badRequest(`Invalid input received: A volume cannot be written in the format ${diskFormat}.`);
}

/** What is of this image only, or is for the services themselves. */
const ownNames = ['image_id', 'image_name', 'checksum', 'container_format', 'disk_format', 'min_disk', 'min_ram', 'size'];
const reservedNames = /^(?:img_signature|os_glance|cinder_encryption|signature_verified|os_hash)/;

function inheritedProperties(imageMetadata: StringMap): StringMap {
  const inherited = Object.entries(imageMetadata).filter(([name]) => !ownNames.includes(name) && !reservedNames.test(name));
  return Object.fromEntries(inherited);
}

function wholeNumber(text: string | undefined): number {
  const value = Number(text ?? 0);
  return Number.isInteger(value) && value >= 0 && value < 2 ** 31 ? value : 0;
}
