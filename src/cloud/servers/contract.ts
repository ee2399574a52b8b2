import type { ListColumn, ListQuery } from '../database/lists.ts';
import type { StringMap, Timestamp } from '../database/service.ts';
import type { PowerState, TaskState, VmState } from './states.ts';

/** The copy of a flavor that a server keeps. */
export type ServerFlavor = {
  readonly id: string;
  readonly name: string;
  readonly ramMib: number;
  readonly vcpus: number;
  readonly diskGib: number;
  readonly ephemeralGib: number;
  readonly swapMib: number;
  readonly extraSpecs: StringMap;
};

export interface ServerFault {
  /** An HTTP code. */
  readonly code: number;
  readonly message: string;
  readonly at: Timestamp;
}

export interface ServerDisk {
  readonly volumeId: string;
  readonly attachmentId: string;
  /** `vda`. */
  readonly device: string;
  readonly bootIndex: number | null;
  /** A disk of the server's own, which Block Storage does not know. */
  readonly isLocal: boolean;
  readonly deleteOnTermination: boolean;
  readonly tag: string | null;
  readonly isLeaving: boolean;
}

export interface Server {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string;
  readonly description: string | null;
  readonly hostname: string;
  /** As its owner says them; empty: none. */
  readonly accessIpV4: string;
  readonly accessIpV6: string;
  readonly vmState: VmState;
  readonly taskState: TaskState | null;
  readonly powerState: PowerState;
  readonly isLocked: boolean;
  readonly lockReason: string | null;
  readonly flavor: ServerFlavor;
  /** Null: it boots from a volume. */
  readonly imageId: string | null;
  readonly imageProperties: StringMap;
  readonly keyName: string | null;
  readonly publicKey: string | null;
  /** Base64. */
  readonly userData: string | null;
  readonly hasConfigDrive: boolean;
  readonly metadata: StringMap;
  readonly tags: readonly string[];
  readonly diskConfig: DiskConfig;
  readonly availabilityZone: string;
  readonly reservationId: string;
  readonly launchIndex: number;
  readonly fault: ServerFault | null;
  /** The process that runs it, or is about to. */
  readonly machine: { readonly id: string; readonly processId: number | null } | null;
  /** Its guest may be frozen: a process has asked for that, and did not see it thaw. */
  readonly isFrozen: boolean;
  readonly launchedAt: Timestamp | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp | null;
  /** By device. */
  readonly disks: readonly ServerDisk[];
}

export type DiskConfig = 'AUTO' | 'MANUAL';

/** The names under which lists may be sorted and filtered. */
export const serverColumns = {
  id: { column: 'id', kind: 'uuid' },
  project_id: { column: 'project_id', kind: 'text' },
  user_id: { column: 'user_id', kind: 'text' },
  name: { column: 'name', kind: 'text' },
  hostname: { column: 'hostname', kind: 'text' },
  description: { column: 'description', kind: 'text', nullable: true },
  vm_state: { column: 'vm_state', kind: 'text' },
  task_state: { column: 'task_state', kind: 'text', nullable: true },
  power_state: { column: 'power_state', kind: 'number' },
  image_id: { column: 'image_id', kind: 'uuid', nullable: true },
  key_name: { column: 'key_name', kind: 'text', nullable: true },
  availability_zone: { column: 'availability_zone', kind: 'text' },
  reservation_id: { column: 'reservation_id', kind: 'text' },
  locked: { column: 'is_locked', kind: 'boolean' },
  launched_at: { column: 'launched_at', kind: 'time', nullable: true },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type ServerColumn = keyof typeof serverColumns;

/** What lists of servers are filtered by beside columns. */
export interface ServerListQuery extends ListQuery<ServerColumn> {
  /** A regular expression, found anywhere in the name. */
  readonly namePattern: string | undefined;
  readonly flavorId: string | undefined;
  /** All of them, any of them, not all, not any. */
  readonly tags: Partial<Record<'all' | 'any' | 'notAll' | 'notAny', readonly string[]>>;
}

/** One disk of the request to create a server, as `block_device_mapping_v2` says it. */
export interface BlockDeviceOrder {
  readonly source: 'volume' | 'image' | 'snapshot' | 'blank';
  readonly destination: 'volume' | 'local';
  /** Of the source; null for blank ones. */
  readonly id: string | null;
  /** Below 0 or null: nothing boots from it. */
  readonly bootIndex: number | null;
  readonly sizeGib: number | null;
  readonly deleteOnTermination: boolean;
  /** `vdb`, as it was asked for. */
  readonly device: string | null;
  readonly tag: string | null;
  readonly volumeType: string | null;
}

export interface CreateServerOrder {
  readonly name: string;
  readonly description: string | null;
  readonly hostname: string | null;
  readonly accessIpV4: string;
  readonly accessIpV6: string;
  readonly flavorRef: string;
  readonly imageRef: string | null;
  readonly blockDevices: readonly BlockDeviceOrder[];
  readonly keyName: string | null;
  /** Base64. */
  readonly userData: string | null;
  readonly metadata: StringMap;
  readonly tags: readonly string[];
  readonly diskConfig: DiskConfig;
  readonly availabilityZone: string | null;
  readonly minCount: number;
  readonly maxCount: number;
}
