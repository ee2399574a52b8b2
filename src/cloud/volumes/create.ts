/** The request to create a volume: every check first, then its row, its quota and its saga in one transaction. */
import { badRequest } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { StringMap, Tx } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { TypeChoice } from '../volume-types/service.ts';
import { lockedVolume } from './access.ts';
import type { CreateVolumeOrder, Volume } from './contract.ts';
import { type CreateInput, createKind, holderOf } from './create.job.ts';
import { gib, quotaOfVolume, volumeSizeGibMax } from './sizes.ts';
import type { GroupSources, ImageSource, ImageSources, SnapshotSources } from './sources.ts';
import { can } from './states.ts';
import { insertVolume, lockVolume } from './store.ts';
import { checkAgainstType } from './type-limits.ts';

export interface CreateDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly disks: Pick<DisksService, 'hold'>;
  readonly types: TypeChoice;
  readonly images: ImageSources;
  readonly snapshots: Pick<SnapshotSources, 'volumeOf' | 'sourceFor'>;
  readonly groups: GroupSources;
  readonly availabilityZone: string;
}

/** What the new volume gets from where it starts. */
interface Origin {
  readonly sizeGib: number;
  readonly pointId: string | null;
  readonly clone: CreateInput['clone'];
  readonly fromImage: boolean;
  readonly snapshotId: string | null;
  readonly sourceVolumeId: string | null;
  readonly bootable: boolean;
  readonly imageMetadata: StringMap;
  readonly volumeType: string | null;
}

/** Returns the id of the new volume. */
export async function beginCreate(deps: CreateDeps, tx: Tx, caller: Caller, order: CreateVolumeOrder): Promise<string> {
  const input = await planCreate(deps, tx, caller, order);
  const { volumeId } = input;
  const { requestId, projectId } = caller;
  await deps.jobs.start(tx, { kind: createKind, subjectId: volumeId, projectId, input, requestId });
  return volumeId;
}

/** The row, its quota, and the hold on what the volume starts from. What is left to do makes its disk. */
export async function planCreate(deps: Omit<CreateDeps, 'jobs'>, tx: Tx, caller: Caller, order: CreateVolumeOrder): Promise<CreateInput> {
  const projectId = projectOf(caller);
  authorise(caller, 'volume:create', { projectId });
  const availabilityZone = checkedZone(order.availabilityZone, deps.availabilityZone);
  const origin = await originOf(deps, tx, caller, order);
  checkSize(origin.sizeGib);
  const type = await deps.types.choose(tx, caller, typeWish(order, origin));
  checkAgainstType(type, origin.sizeGib, deps.availabilityZone);
  const groupId = order.groupId ?? null;
  if (groupId !== null) await deps.groups.checkMember(tx, caller, groupId, type.id);
  await deps.quotas.reserve(tx, projectId, quotaOfVolume(type.name, origin.sizeGib));

  const volumeId = newId();
  await insertVolume(tx.sql, {
    id: volumeId,
    projectId,
    userId: caller.userId,
    name: order.name,
    description: order.description,
    status: 'creating',
    sizeGib: origin.sizeGib,
    availabilityZone,
    volumeTypeId: type.id,
    bootable: origin.bootable,
    snapshotId: origin.snapshotId,
    sourceVolumeId: origin.sourceVolumeId,
    metadata: order.metadata,
    imageMetadata: origin.imageMetadata,
    groupId,
  });
  // The point of a clone is made, and held, by the saga; the others are there and could lose their holders right after this.
  if (origin.pointId !== null && origin.clone === null) await deps.disks.hold(tx, origin.pointId, holderOf(volumeId));
  const { sizeGib, pointId, clone, fromImage } = origin;
  return { volumeId, topLayerId: newId(), sizeGib, pointId, extraSpecs: type.extraSpecs, fromImage, clone };
}

/** What an image wishes for is as if its user had asked; what a volume or snapshot has, its copies may have too. */
function typeWish({ volumeType }: CreateVolumeOrder, origin: Origin): { asked: string | null; fromSource: string | null } {
  if (origin.fromImage) return { asked: volumeType ?? origin.volumeType, fromSource: null };
  return { asked: volumeType, fromSource: origin.volumeType };
}

export function projectOf(caller: Caller): string {
  if (caller.projectId === null) throw badRequest('Malformed request url');
  return caller.projectId;
}

export function checkedZone(asked: string | null, ours: string): string {
  if (asked !== null && asked !== ours) throw badRequest(`Invalid input received: Availability zone '${asked}' is invalid.`);
  return ours;
}

export function checkSize(sizeGib: number): void {
  if (Number.isSafeInteger(sizeGib) && sizeGib >= 1 && sizeGib <= volumeSizeGibMax) return;
  throw badRequest(
    `Invalid input received: Invalid volume size provided for create request: ${sizeGib} (size argument must be an integer (or string representation of an integer) and greater than zero).`,
  );
}

const plain = { pointId: null, clone: null, fromImage: false, snapshotId: null, sourceVolumeId: null } as const;
const bare = { bootable: false, imageMetadata: {}, volumeType: null } as const;

async function originOf(deps: Pick<CreateDeps, 'images' | 'snapshots'>, tx: Tx, caller: Caller, order: CreateVolumeOrder): Promise<Origin> {
  switch (order.source.kind) {
    case 'blank':
      return { ...plain, ...bare, sizeGib: requiredSize(order.sizeGib) };
    case 'snapshot':
      return await originFromSnapshot(deps, tx, caller, order, order.source.id);
    case 'volume':
      return await originFromVolume(tx, caller, order, order.source.id);
    case 'image':
      return await originFromImage(deps, tx, caller, order, order.source.id);
  }
}

function requiredSize(sizeGib: number | null): number {
  if (sizeGib !== null) return sizeGib;
  throw badRequest(
    'Invalid input received: Invalid volume size provided for create request: None (size argument must be an integer (or string representation of an integer) and greater than zero).',
  );
}

async function originFromSnapshot(
  deps: Pick<CreateDeps, 'snapshots'>,
  tx: Tx,
  caller: Caller,
  order: CreateVolumeOrder,
  id: string,
): Promise<Origin> {
  // Whoever has the snapshot may use it, also when the volume was given away without it.
  const volume = (await lockVolume(tx.sql, await deps.snapshots.volumeOf(tx, caller, id))) as Volume;
  const snapshot = await deps.snapshots.sourceFor(tx, caller, id);
  const sizeGib = order.sizeGib ?? snapshot.sizeGib;
  if (sizeGib < snapshot.sizeGib) {
    throw badRequest(
      `Invalid input received: Volume size '${sizeGib}'GB cannot be smaller than the snapshot size ${snapshot.sizeGib}GB. They must be >= original snapshot size.`,
    );
  }
  const { bootable, imageMetadata, pointId, snapshotId } = snapshot;
  // The type of a volume that belongs to others by now may be one that is not for everybody.
  const volumeType = volume.projectId === snapshot.projectId ? volume.volumeType.id : null;
  return { ...plain, bootable, imageMetadata, volumeType, sizeGib, pointId, snapshotId };
}

async function originFromVolume(tx: Tx, caller: Caller, order: CreateVolumeOrder, id: string): Promise<Origin> {
  const volume = await lockedVolume(tx, caller, id, 'volume:get');
  if (!can.beCloned(volume)) {
    throw badRequest("Invalid volume: Originating volume status must be one of 'available, in-use' values");
  }
  const sizeGib = order.sizeGib ?? volume.sizeGib;
  if (sizeGib < volume.sizeGib) {
    throw badRequest(
      `Invalid input received: Volume size '${sizeGib}'GB cannot be smaller than original volume size ${volume.sizeGib}GB. They must be >= original volume size.`,
    );
  }
  const clone = { volumeId: volume.id, topLayerId: newId() };
  return { ...plain, ...inherited(volume), sizeGib, pointId: newId(), clone, sourceVolumeId: volume.id };
}

const inherited = (volume: { bootable: boolean; imageMetadata: StringMap; volumeType: { id: string } }) => ({
  bootable: volume.bootable,
  imageMetadata: volume.imageMetadata,
  volumeType: volume.volumeType.id,
});

async function originFromImage(
  deps: Pick<CreateDeps, 'images'>,
  tx: Tx,
  caller: Caller,
  order: CreateVolumeOrder,
  id: string,
): Promise<Origin> {
  const image = await deps.images.sourceFor(tx, caller, id);
  const sizeGib = requiredSize(order.sizeGib);
  checkImageFits(image, sizeGib);
  const { pointId, metadata: imageMetadata, volumeType } = image;
  return { ...plain, sizeGib, pointId, fromImage: true, bootable: true, imageMetadata, volumeType };
}

export function checkImageFits(image: ImageSource, sizeGib: number): void {
  const imageGib = Math.ceil(image.virtualSizeBytes / gib);
  if (sizeGib < imageGib) {
    throw badRequest(`Invalid input received: Size of specified image '${imageGib}'GB is larger than volume size '${sizeGib}'GB.`);
  }
  if (sizeGib < image.minDiskGib) {
    throw badRequest(
      `Invalid input received: Volume size '${sizeGib}'GB cannot be smaller than the image minDisk size ${image.minDiskGib}GB.`,
    );
  }
}
