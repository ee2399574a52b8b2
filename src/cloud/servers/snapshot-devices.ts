/** The disks of a server that boots from volumes, as an image of it names them: JSON in its property `block_device_mapping`, in Nova's words. */
import { badRequest } from '../../lib/errors.ts';
import type { StringMap } from '../database/service.ts';
import type { BlockDeviceOrder } from './contract.ts';

const snapshotProperty = 'block_device_mapping';

export interface SnapshotDevice {
  readonly snapshotId: string;
  readonly bootIndex: number | null;
  readonly device: string;
  readonly deleteOnTermination: boolean;
  readonly sizeGib: number;
  readonly tag: string | null;
}

/** The properties that name them. */
export function snapshotProperties(rootDevice: string, devices: readonly SnapshotDevice[]): StringMap {
  const mapping = devices.map(({ snapshotId, bootIndex, device, deleteOnTermination, sizeGib, tag }) => ({
    source_type: 'snapshot',
    destination_type: 'volume',
    snapshot_id: snapshotId,
    boot_index: bootIndex,
    device_name: `/dev/${device}`,
    device_type: 'disk',
    disk_bus: 'virtio',
    delete_on_termination: deleteOnTermination,
    volume_size: sizeGib,
    guest_format: null,
    image_id: null,
    volume_id: null,
    no_device: null,
    tag,
    volume_type: null,
  }));
  return { root_device_name: `/dev/${rootDevice}`, bdm_v2: 'True', [snapshotProperty]: JSON.stringify(mapping) };
}

/** Undefined: the image holds bytes itself. Whoever may write properties wrote them, so what is not understood is refused. */
export function devicesOfSnapshot(properties: StringMap): BlockDeviceOrder[] | undefined {
  const text = properties[snapshotProperty];
  if (text === undefined) return undefined;
  const entries = parsed(text);
  if (entries.length === 0) return undefined;
  return entries.map((entry) => {
    const { source_type: source, snapshot_id: id, boot_index: bootIndex, volume_size: sizeGib } = entry;
    if (source !== 'snapshot' || typeof id !== 'string') throw unreadable();
    return {
      source,
      destination: 'volume',
      id,
      bootIndex: typeof bootIndex === 'number' && Number.isInteger(bootIndex) ? bootIndex : null,
      sizeGib: typeof sizeGib === 'number' && Number.isInteger(sizeGib) ? sizeGib : null,
      deleteOnTermination: entry.delete_on_termination === true,
      device: typeof entry.device_name === 'string' ? entry.device_name.replace('/dev/', '') : null,
      tag: typeof entry.tag === 'string' ? entry.tag : null,
      volumeType: typeof entry.volume_type === 'string' ? entry.volume_type : null,
    };
  });
}

function parsed(text: string): Record<string, unknown>[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.every((entry) => typeof entry === 'object' && entry !== null && !Array.isArray(entry)))
      return value as Record<string, unknown>[];
  } catch {
    // Told below, like all that is no list of objects.
  }
  throw unreadable();
}

const unreadable = () => badRequest('Block Device Mapping is Invalid: the image names no snapshots that can be read.');
