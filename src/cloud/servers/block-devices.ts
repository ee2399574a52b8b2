/**
 * Which disks a new server gets: the rules of `block_device_mapping_v2`, before anything is looked up. `source` of the result says where each disk
 * comes from; the first one, `vda`, is the one that the server boots from.
 */
import { badRequest } from '../../lib/errors.ts';
import type { BlockDeviceOrder, ServerFlavor } from './contract.ts';

export interface DiskWish extends BlockDeviceOrder {
  /** `vda` to `vdz`. */
  readonly assigned: string;
}

/** From `vda` on; a machine has no slots for more. */
export const devices: readonly string[] = Array.from('abcdefghijklmnopqrstuvwxyz', (letter) => `vd${letter}`);

const gapMessage =
  'Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.';

/** `imageRef` null: it boots from one of the devices. */
export function planDisks(imageRef: string | null, orders: readonly BlockDeviceOrder[], flavor: ServerFlavor): DiskWish[] {
  for (const order of orders) checkOne(order);
  const all = withImage(imageRef, orders, flavor);
  const roots = all.filter(isBootable).sort((one, other) => (one.bootIndex ?? 0) - (other.bootIndex ?? 0));
  if (roots.length === 0 || roots.some(({ bootIndex }, index) => bootIndex !== index)) throw badRequest(gapMessage);
  const others = [...all.filter((order) => !isBootable(order)), ...extras(orders, flavor)];
  return assign([...roots, ...others]);
}

const isBootable = ({ bootIndex }: BlockDeviceOrder): boolean => bootIndex !== null && bootIndex >= 0;

/** Clients name the image a second time among the devices, or not; it is one disk. */
function withImage(imageRef: string | null, orders: readonly BlockDeviceOrder[], flavor: ServerFlavor): readonly BlockDeviceOrder[] {
  if (imageRef === null) return orders;
  const root = orders.find(({ bootIndex }) => bootIndex === 0);
  if (root !== undefined) {
    if (root.source !== 'image' || root.id !== imageRef) throw badRequest(gapMessage);
    return orders;
  }
  const local: BlockDeviceOrder = { ...plain, source: 'image', id: imageRef, bootIndex: 0, sizeGib: flavor.diskGib || null };
  return [local, ...orders];
}

const plain = { destination: 'local', deleteOnTermination: true, device: null, tag: null, volumeType: null } as const;

/** What the flavor adds, unless the request says it itself. */
function extras(orders: readonly BlockDeviceOrder[], { ephemeralGib, swapMib }: ServerFlavor): BlockDeviceOrder[] {
  const asked = orders.some(({ source, destination }) => source === 'blank' && destination === 'local');
  const sizes = asked ? [] : [ephemeralGib, Math.ceil(swapMib / 1024)].filter((sizeGib) => sizeGib > 0);
  return sizes.map((sizeGib) => ({ ...plain, source: 'blank', id: null, bootIndex: null, sizeGib }));
}

function checkOne({ source, destination, id, sizeGib }: BlockDeviceOrder): void {
  if (source !== 'blank' && id === null) throw invalid(`Missing device UUID.`);
  if ((source === 'volume' || source === 'snapshot') && destination === 'local')
    throw invalid(`Mapping ${source} to local is not supported.`);
  if (source === 'blank' && destination === 'volume' && sizeGib === null)
    throw invalid(`Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size`);
  if (source === 'image' && destination === 'volume' && sizeGib === null)
    throw invalid(`Images with destination_type 'volume' need to have a non-zero size specified`);
  if (source === 'blank' && destination === 'local' && sizeGib === null) throw invalid(`Blank disks need to have a size.`);
}

const invalid = (reason: string) => badRequest(`Block Device Mapping is Invalid: ${reason}`);

/** Whoever asked for a name gets it while it is free; the disk that is booted from is always the first. */
function assign(wishes: readonly BlockDeviceOrder[]): DiskWish[] {
  if (wishes.length > devices.length) throw invalid(`A server has ${devices.length} disks at most.`);
  const taken = new Map<BlockDeviceOrder, string>();
  const isFree = (device: string): boolean => ![...taken.values()].includes(device);
  const [root, ...rest] = wishes;
  if (root !== undefined) taken.set(root, 'vda');
  for (const wish of rest) {
    const name = wish.device?.replace('/dev/', '');
    if (name !== undefined && devices.includes(name) && isFree(name)) taken.set(wish, name);
  }
  for (const wish of rest) {
    if (!taken.has(wish)) taken.set(wish, devices.find(isFree) as string);
  }
  return wishes.map((wish) => ({ ...wish, assigned: taken.get(wish) as string }));
}

/** The name for one more disk; undefined when there is none left. */
export function nextDevice(taken: readonly string[], asked: string | null): string | undefined {
  const name = asked?.replace('/dev/', '');
  const isFree = (device: string): boolean => !taken.includes(device);
  return name !== undefined && devices.includes(name) && isFree(name) ? name : devices.find(isFree);
}
