/** The request to create servers: every check first, then rows, quota, disks that are promised, and a saga for each, in one transaction. */
import { badRequest, forbidden, ProductError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { StringMap, Tx } from '../database/service.ts';
import type { FlavorChoice } from '../flavors/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import type { Image, ImagesForServers } from '../images/service.ts';
import type { Jobs } from '../jobs/service.ts';
import type { KeypairsService } from '../keypairs/service.ts';
import type { ComputeQuotas } from '../quotas/contract.ts';
import type { CreateVolumeOrder, PlannedDisk, VolumesForServers } from '../volumes/service.ts';
import { insertAction } from './action-store.ts';
import { type DiskWish, planDisks } from './block-devices.ts';
import type { BlockDeviceOrder, CreateServerOrder, ServerFlavor } from './contract.ts';
import { type CreateServerInput, createServerKind, type NewDisk } from './create.job.ts';
import { insertDisk } from './disk-store.ts';
import { devicesOfSnapshot } from './snapshot-devices.ts';
import { insertServer } from './store.ts';

export interface CreateDeps {
  readonly jobs: Pick<Jobs, 'start'>;
  readonly flavors: FlavorChoice;
  readonly keypairs: Pick<KeypairsService, 'find'>;
  readonly quotas: Pick<ComputeQuotas, 'reserve'>;
  readonly images: ImagesForServers;
  readonly volumes: VolumesForServers;
  /** Of volumes, which is that of servers too unless operators say otherwise. */
  readonly availabilityZone: string;
  /** Of servers. */
  readonly zone: (db: Tx['sql']) => Promise<{ readonly name: string }>;
}

export interface CreatedServers {
  readonly ids: readonly string[];
  readonly reservationId: string;
}

export async function beginCreate(deps: CreateDeps, tx: Tx, caller: Caller, order: CreateServerOrder): Promise<CreatedServers> {
  const projectId = caller.projectId;
  if (projectId === null) throw badRequest('Malformed request url');
  authorise(caller, 'machine:create', { projectId });
  const zone = (await deps.zone(tx.sql)).name;
  if (order.availabilityZone !== null && order.availabilityZone !== zone)
    throw badRequest(`The requested availability zone is not available`);
  if (order.maxCount < order.minCount) throw badRequest('min_count must be <= max_count');
  const found = await deps.flavors.find(tx.sql, caller, order.flavorRef);
  if (found === undefined) throw badRequest(`Flavor ${order.flavorRef} could not be found.`);
  const { id, name, ramMib, vcpus, diskGib, ephemeralGib, swapMib, extraSpecs } = found;
  const flavor: ServerFlavor = { id, name, ramMib, vcpus, diskGib, ephemeralGib, swapMib, extraSpecs };
  const publicKey = order.keyName === null ? null : (await deps.keypairs.find(tx.sql, caller, order.keyName))?.publicKey;
  if (publicKey === undefined) throw badRequest('Invalid key_name provided.');
  const image = order.imageRef === null ? undefined : await deps.images.get(tx, caller, order.imageRef);
  if (image !== undefined) checkFits(image, flavor);
  const wishes = wishesOf(order, image, flavor);
  if (order.maxCount > 1 && wishes.some(({ source }) => source === 'volume'))
    throw badRequest('Cannot attach one or more volumes to multiple instances');
  await deps.quotas.reserve(
    tx,
    { projectId, userId: caller.userId },
    { instances: order.maxCount, cores: vcpus * order.maxCount, ram: ramMib * order.maxCount },
  );
  const reservationId = `r-${newId().slice(0, 8)}`;
  const ids: string[] = [];
  for (let index = 0; index < order.maxCount; index += 1) {
    ids.push(await createOne(deps, tx, caller, { zone, projectId, order, flavor, publicKey, image, wishes, reservationId, index }));
  }
  return { ids, reservationId };
}

/** An image of a server that boots from volumes holds no bytes, but names snapshots of these. */
function wishesOf(order: CreateServerOrder, image: Image | undefined, flavor: ServerFlavor): DiskWish[] {
  const fromSnapshots = image === undefined ? undefined : devicesOfSnapshot(image.properties);
  if (fromSnapshots === undefined || image === undefined) return planDisks(order.imageRef, order.blockDevices, flavor);
  const asked = new Set(order.blockDevices.map(({ device }) => device));
  return planDisks(null, [...fromSnapshots.filter(({ device }) => device === null || !asked.has(device)), ...order.blockDevices], flavor);
}

function checkFits(image: Image, flavor: ServerFlavor): void {
  if (flavor.ramMib < image.minRamMib) throw badRequest("Flavor's memory is too small for requested image.");
  if (flavor.diskGib === 0) return;
  const imageGib = Math.ceil((image.virtualBytes ?? 0) / 2 ** 30);
  if (flavor.diskGib < imageGib)
    throw badRequest(
      `Flavor's disk is too small for requested image. Flavor disk is ${flavor.diskGib * 2 ** 30} bytes, image is ${image.virtualBytes} bytes.`,
    );
  if (flavor.diskGib < image.minDiskGib)
    throw badRequest(
      `Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is ${flavor.diskGib * 2 ** 30} bytes, minimum size is ${image.minDiskGib * 2 ** 30} bytes.`,
    );
}

interface One {
  readonly zone: string;
  readonly projectId: string;
  readonly order: CreateServerOrder;
  readonly flavor: ServerFlavor;
  readonly publicKey: string | null;
  readonly image: Image | undefined;
  readonly wishes: readonly DiskWish[];
  readonly reservationId: string;
  readonly index: number;
}

async function createOne(deps: CreateDeps, tx: Tx, caller: Caller, one: One): Promise<string> {
  const { order, projectId, flavor, image, index } = one;
  const id = newId();
  const name = order.maxCount > 1 ? `${order.name}-${index + 1}` : order.name;
  const root = one.wishes[0];
  const disks: PromisedDisk[] = [];
  for (const wish of one.wishes) disks.push(await promise(deps, tx, caller, id, wish));
  const imageProperties = await propertiesOf(deps, tx, caller, image, disks[0]);
  await insertServer(tx.sql, {
    id,
    projectId,
    userId: caller.userId,
    name,
    description: order.description,
    hostname: order.hostname ?? hostnameOf(name, id),
    accessIpV4: order.accessIpV4,
    accessIpV6: order.accessIpV6,
    flavor,
    imageId: root?.destination === 'local' && image !== undefined ? image.id : null,
    imageProperties,
    keyName: order.keyName,
    publicKey: one.publicKey,
    userData: order.userData,
    hasConfigDrive: true,
    metadata: order.metadata,
    tags: order.tags,
    diskConfig: order.diskConfig,
    availabilityZone: one.zone,
    reservationId: one.reservationId,
    launchIndex: index,
  });
  for (const { row } of disks) await insertDisk(tx.sql, id, row);
  const kernel = await kernelOf(deps, tx, caller, imageProperties);
  const newDisks = disks.map(({ planned, row: { volumeId, attachmentId } }): NewDisk => ({ planned, volumeId, attachmentId }));
  const input: CreateServerInput = { serverId: id, machineId: newId(), requestId: caller.requestId, kernel, disks: newDisks };
  await insertAction(tx.sql, { requestId: caller.requestId, serverId: id, action: 'create', userId: caller.userId, projectId });
  await deps.jobs.start(tx, { kind: createServerKind, subjectId: id, projectId, input, requestId: caller.requestId });
  return id;
}

/** Volumes remember what is said of the image that they were made of: so does a server that boots from one. */
async function propertiesOf(
  deps: CreateDeps,
  tx: Tx,
  caller: Caller,
  image: Image | undefined,
  root: PromisedDisk | undefined,
): Promise<StringMap> {
  if (image !== undefined) return { ...image.properties, base_image_ref: image.id };
  if (root === undefined || root.row.isLocal) return {};
  return (await deps.volumes.lock(tx, caller, root.row.volumeId)).imageMetadata;
}

interface PromisedDisk {
  readonly planned: PlannedDisk | null;
  readonly row: Parameters<typeof insertDisk>[2];
}

/** The disk, and what it needs to come to be. */
async function promise(deps: CreateDeps, tx: Tx, caller: Caller, serverId: string, wish: DiskWish): Promise<PromisedDisk> {
  const { assigned: device, bootIndex, tag } = wish;
  const isLocal = wish.destination === 'local';
  const facts = { device, bootIndex, isLocal, deleteOnTermination: isLocal || wish.deleteOnTermination, tag };
  if (wish.source === 'volume') {
    const volume = await deps.volumes.lock(tx, caller, wish.id ?? '').catch((error: unknown) => {
      if (error instanceof ProductError) throw badRequest(`Block Device Mapping is Invalid: failed to get volume ${wish.id}.`);
      throw error;
    });
    if (bootIndex === 0 && !volume.bootable) throw badRequest(`Block Device ${volume.id} is not bootable.`);
    const attachmentId = await deps.volumes.reserve(tx, caller, { volumeId: volume.id, serverId });
    return { planned: null, row: { ...facts, volumeId: volume.id, attachmentId } };
  }
  const planned = isLocal ? await planLocal(deps, tx, caller, serverId, wish) : await planVolume(deps, tx, caller, wish);
  return { planned, row: { ...facts, volumeId: planned.volumeId, attachmentId: newId() } };
}

async function planVolume(deps: CreateDeps, tx: Tx, caller: Caller, wish: DiskWish): Promise<PlannedDisk> {
  const source = wish.source === 'blank' ? { kind: 'blank' as const } : { kind: sourceKinds[wish.source], id: wish.id ?? '' };
  const order: CreateVolumeOrder = {
    name: '',
    description: '',
    sizeGib: wish.sizeGib,
    volumeType: wish.volumeType,
    availabilityZone: null,
    metadata: {},
    source,
  };
  return await deps.volumes.plan(tx, caller, order);
}

const sourceKinds = { image: 'image', snapshot: 'snapshot', volume: 'volume' } as const satisfies Record<
  Exclude<BlockDeviceOrder['source'], 'blank'>,
  string
>;

async function planLocal(deps: CreateDeps, tx: Tx, caller: Caller, serverId: string, wish: DiskWish): Promise<PlannedDisk> {
  const { userId } = caller;
  const { availabilityZone } = deps;
  if (wish.source === 'blank')
    return await deps.volumes.planLocal(tx, { serverId, userId, availabilityZone, sizeGib: wish.sizeGib ?? 1, pointId: null });
  const image = await deps.images.get(tx, caller, wish.id ?? '');
  // A kernel is no disk: what is started directly may do without one.
  if (image.pointId === null && image.properties.kernel_id === undefined)
    throw badRequest(`Image ${image.id} is unacceptable: it holds no disk that a server can start from.`);
  const imageGib = Math.max(1, Math.ceil((image.virtualBytes ?? 0) / 2 ** 30), image.minDiskGib);
  const sizeGib = wish.sizeGib ?? imageGib;
  return await deps.volumes.planLocal(tx, { serverId, userId, availabilityZone, sizeGib, pointId: image.pointId });
}

/** Images that say so bring a kernel of their own, which is started without a boot loader. */
async function kernelOf(deps: CreateDeps, tx: Tx, caller: Caller, properties: StringMap): Promise<CreateServerInput['kernel']> {
  const { kernel_id: kernelId, ramdisk_id: ramdiskId } = properties;
  if (kernelId === undefined || kernelId === '') return null;
  const bytesOf = async (id: string): Promise<string> => (await deps.images.get(tx, caller, id)).id;
  return { kernelId: await bytesOf(kernelId), ramdiskId: ramdiskId === undefined || ramdiskId === '' ? null : await bytesOf(ramdiskId) };
}

/** As Nova makes it: what may stand in a host name is kept. */
export function hostnameOf(name: string, id: string): string {
  const kept = name
    .toLowerCase()
    .replaceAll(/[ _]/g, '-')
    .replaceAll(/[^\w.-]+/g, '')
    .replaceAll(/^[.-]+|[.-]+$/g, '')
    .slice(0, 63);
  return kept === '' ? `server-${id}` : kept;
}

const metadataMax = 128;

export function checkMetadata(metadata: StringMap): void {
  if (Object.keys(metadata).length > metadataMax) throw forbidden(`Maximum number of metadata items exceeds ${metadataMax}`);
}
