import type { ListColumn, ListQuery } from '../database/lists.ts';
import type { JsonMap, StringMap, Timestamp, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { VolumeStatus } from './states.ts';

/** `reserved`: promised · `attaching`: the client was told how to connect · `attached`: the client said that it did. */
export type AttachmentStatus = 'reserved' | 'attaching' | 'attached';

export interface VolumeAttachment {
  readonly id: string;
  readonly volumeId: string;
  readonly status: AttachmentStatus;
  readonly instanceId: string | null;
  readonly hostName: string | null;
  readonly mountpoint: string | null;
  readonly mode: 'rw' | 'ro';
  readonly attachedAt: Timestamp | null;
}

/** An attachment by itself, as clients that made it see it. */
export interface Attachment extends VolumeAttachment {
  readonly projectId: string;
  /** Empty until the client has named its connector. */
  readonly connectionInfo: JsonMap;
}

export const attachmentColumns = {
  id: { column: 'id', kind: 'uuid' },
  project_id: { column: 'project_id', kind: 'text' },
  volume_id: { column: 'volume_id', kind: 'uuid' },
  instance_id: { column: 'instance_uuid', kind: 'uuid', nullable: true },
  attach_status: { column: 'status', kind: 'text' },
  attached_host: { column: 'host_name', kind: 'text', nullable: true },
  mountpoint: { column: 'mountpoint', kind: 'text', nullable: true },
  attach_mode: { column: 'mode', kind: 'text' },
  attach_time: { column: 'attached_at', kind: 'time', nullable: true },
  created_at: { column: 'created_at', kind: 'time' },
} as const satisfies Record<string, ListColumn>;

export type AttachmentColumn = keyof typeof attachmentColumns;

export interface Volume {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly status: VolumeStatus;
  readonly previousStatus: VolumeStatus | null;
  readonly sizeGib: number;
  readonly availabilityZone: string;
  readonly volumeType: { readonly id: string; readonly name: string };
  readonly bootable: boolean;
  /** Null: nobody has said. */
  readonly readonly: boolean | null;
  readonly snapshotId: string | null;
  readonly sourceVolumeId: string | null;
  readonly metadata: StringMap;
  readonly imageMetadata: StringMap;
  /** Null until the disk is made, and for volumes in status error that never had one. */
  readonly topLayerId: string | null;
  /** Of which group it is a member. */
  readonly groupId: string | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp | null;
  readonly attachments: readonly VolumeAttachment[];
}

/** The names under which lists may be sorted and filtered. */
export const volumeColumns = {
  id: { column: 'id', kind: 'uuid' },
  project_id: { column: 'project_id', kind: 'text' },
  user_id: { column: 'user_id', kind: 'text' },
  name: { column: 'name', kind: 'text', nullable: true },
  description: { column: 'description', kind: 'text', nullable: true },
  status: { column: 'status', kind: 'text' },
  size: { column: 'size_gib', kind: 'number' },
  availability_zone: { column: 'availability_zone', kind: 'text' },
  volume_type_id: { column: 'volume_type_id', kind: 'uuid' },
  bootable: { column: 'bootable', kind: 'boolean' },
  snapshot_id: { column: 'snapshot_id', kind: 'uuid', nullable: true },
  source_volid: { column: 'source_volid', kind: 'uuid', nullable: true },
  group_id: { column: 'group_id', kind: 'uuid', nullable: true },
  glance_metadata: { column: 'image_metadata', kind: 'pairs' },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type VolumeColumn = keyof typeof volumeColumns;
export type VolumeListQuery = ListQuery<VolumeColumn>;

export interface VolumePage {
  readonly volumes: readonly Volume[];
  /** All that match, whatever the page: only when asked for. */
  readonly count?: number;
}

export interface CreateVolumeOrder {
  readonly name: string | null;
  readonly description: string | null;
  /** May be left out when a source gives it. */
  readonly sizeGib: number | null;
  /** Id or name; null = the default. */
  readonly volumeType: string | null;
  readonly availabilityZone: string | null;
  readonly metadata: StringMap;
  /** The group that it becomes a member of. */
  readonly groupId?: string | null;
  readonly source:
    | { readonly kind: 'blank' }
    | { readonly kind: 'snapshot'; readonly id: string }
    | { readonly kind: 'volume'; readonly id: string }
    | { readonly kind: 'image'; readonly id: string };
}

/** What a restore changes beside the disk. Left out = unchanged. */
export interface RestoredFacts {
  readonly name?: string | null;
  readonly description?: string | null;
  readonly metadata?: StringMap;
  readonly bootable?: boolean;
  readonly imageMetadata?: StringMap;
}

/** Which changes a volume goes through because of a backup. All are compare-and-set, and run in the caller's transaction. */
export interface VolumesForBackups {
  /** The volume, when the caller may see it; else the contract's 404. Locked until the end of the transaction. */
  getForUpdate(tx: Tx, caller: Caller, volumeId: string): Promise<Volume>;
  /** available or (with force) in-use → backing-up; remembers where it came from. Else the contract's 400. */
  beginBackup(tx: Tx, caller: Caller, volumeId: string, options: { readonly force: boolean }): Promise<Volume>;
  /** backing-up → where it came from. Repeatable; a volume in another state is left alone. */
  endBackup(tx: Tx, volumeId: string, outcome: 'done' | 'failed'): Promise<void>;
  /** available → restoring-backup. 400 when it is in another state or smaller than the backup. */
  beginRestore(tx: Tx, caller: Caller, volumeId: string, backup: { readonly sizeGib: number }): Promise<Volume>;
  /** A volume row without a disk, its quota reserved: `endRestore` makes it available. */
  createForRestore(
    tx: Tx,
    caller: Caller,
    order: {
      readonly id: string;
      readonly name: string | null;
      readonly description: string | null;
      readonly sizeGib: number;
      readonly status: 'creating' | 'restoring-backup';
      readonly metadata?: StringMap;
      readonly bootable?: boolean;
      readonly imageMetadata?: StringMap;
      readonly availabilityZone?: string | null;
      /** Id or name; left out or null = the default. */
      readonly volumeType?: string | null;
    },
  ): Promise<Volume>;
  /** creating, restoring-backup → available, with what came from the backup. Repeatable. */
  endRestore(tx: Tx, volumeId: string, facts: RestoredFacts): Promise<void>;
  /** creating, restoring-backup → `status`: error_restoring when the volume was there before, error when it was made for the restore. Repeatable. */
  failRestore(tx: Tx, volumeId: string, status: 'error_restoring' | 'error'): Promise<void>;
}

/** What giving a volume away does to its row, in the transaction of the request. */
export interface VolumesForTransfers {
  /** The volume, locked, when the caller may see it; 404 otherwise. */
  lock(tx: Tx, caller: Caller, volumeId: string): Promise<Volume>;
  /** The same, whoever owns it: the key of a transfer is the right to it. */
  lockAny(tx: Tx, volumeId: string): Promise<Volume | undefined>;
  /** available → awaiting-transfer. False in any other state. */
  begin(tx: Tx, volumeId: string): Promise<boolean>;
  /** awaiting-transfer → available; with a receiver, it owns the volume from now on. False in any other state. */
  end(tx: Tx, volumeId: string, receiver?: { readonly projectId: string; readonly userId: string }): Promise<boolean>;
}

/** What groups ask of their members. Rows are locked by id, so that two groups never wait for each other. */
export interface VolumesForGroups {
  /** Those of the group, locked. */
  lockMembers(tx: Tx, groupId: string): Promise<Volume[]>;
  memberIds(groupIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
  /** The volume, locked, when the caller may see it; 404 otherwise. */
  lock(tx: Tx, caller: Caller, volumeId: string): Promise<Volume>;
  setGroup(tx: Tx, volumeId: string, groupId: string | null): Promise<void>;
  /** Types of volumes by id or name; 404 for one that is not there. */
  typeIds(tx: Tx, caller: Caller, idsOrNames: readonly string[]): Promise<string[]>;
  /** The rows of new members in status creating, their quota reserved. */
  insertCopies(tx: Tx, caller: Caller, copies: readonly VolumeCopy[]): Promise<void>;
  /** creating → available, or error. Repeatable. */
  endCopy(tx: Tx, volumeId: string, outcome: 'done' | 'failed'): Promise<void>;
  /** → deleting; false in a state that a volume cannot be deleted from. */
  beginDelete(tx: Tx, volumeId: string): Promise<boolean>;
  /** The row goes. Repeatable. */
  remove(tx: Tx, volumeId: string): Promise<void>;
  /** deleting → error_deleting. Repeatable. */
  failDelete(tx: Tx, volumeId: string): Promise<void>;
}

/** A disk that is still to be made: its row is there. Plain data, for the inputs of jobs. */
export type PlannedDisk = {
  readonly volumeId: string;
  readonly topLayerId: string;
  readonly sizeGib: number;
  /** Held for the volume until its disk is made. */
  readonly pointId: string | null;
};

/** Where the server of a disk listens. */
export interface ServedDisk {
  readonly socketPath: string;
  readonly exportName: string;
  readonly readOnly: boolean;
}

/** What servers do with volumes, and with disks of their own, which Block Storage does not know. */
export interface VolumesForServers {
  /** The volume, locked, when the caller may see it; 404 otherwise. */
  lock(tx: Tx, caller: Caller, volumeId: string): Promise<Volume>;
  /** The row of a new volume, as of any request to create one: refused like that. */
  plan(tx: Tx, caller: Caller, order: CreateVolumeOrder): Promise<PlannedDisk>;
  /** The row of a disk of a server's own. */
  planLocal(tx: Tx, order: LocalDiskOrder): Promise<PlannedDisk>;
  /** Makes the disk, and reserves it for the server. Repeatable. */
  make(disk: PlannedDisk, attachment: { readonly id: string; readonly serverId: string }): Promise<void>;
  /** Reserves a volume that is there, and returns the id of its attachment. Refused like an attachment of Block Storage. */
  reserve(tx: Tx, caller: Caller, order: { readonly volumeId: string; readonly serverId: string }): Promise<string>;
  /** Has the disk served to the server under this name, `/dev/vda`. Repeatable, also while it is attached. */
  connect(attachmentId: string, mountpoint: string): Promise<ServedDisk>;
  /** The server has it, under this name. Repeatable. */
  complete(attachmentId: string, mountpoint: string): Promise<void>;
  /** in-use → detaching; 400 in any other state. One that an administrator took away by force is let go at once. */
  beginRelease(tx: Tx, caller: Caller, disk: { readonly volumeId: string; readonly attachmentId: string }): Promise<void>;
  /** detaching → in-use: the guest does not let go of it. Repeatable. */
  keep(volumeId: string): Promise<void>;
  /** The server of the disk ends, while it stays attached: nobody uses it. Repeatable. */
  disconnect(volumeId: string): Promise<void>;
  /** The server lets go of it. Repeatable. */
  release(volumeId: string, attachmentId: string): Promise<void>;
  /** What is attached to nothing any more goes with its disk, whatever its status; a volume that has snapshots stays. Repeatable. */
  remove(disk: Pick<PlannedDisk, 'volumeId' | 'pointId'>): Promise<void>;
}

export interface LocalDiskOrder {
  readonly serverId: string;
  readonly userId: string;
  readonly sizeGib: number;
  readonly availabilityZone: string;
  /** What it starts from; null: empty. */
  readonly pointId: string | null;
}

/** A new member of a group, without a name, that starts as what `like` held at a snapshot, or holds now. */
export interface VolumeCopy {
  readonly id: string;
  readonly like: Volume;
  readonly sizeGib: number;
  readonly groupId: string;
  readonly snapshotId: string | null;
}

/** What a new image does to the volume that it is made of. */
export interface VolumesForImages {
  /** Locks the volume, when the caller may make images of it; 404 and 403 otherwise. */
  lock(tx: Tx, caller: Caller, volumeId: string): Promise<Volume>;
  /** available → uploading; remembers where it came from. 404 and 400 otherwise. */
  beginUpload(tx: Tx, caller: Caller, volumeId: string): Promise<Volume>;
  /** uploading → where it came from. Repeatable; a volume in another state is left alone. */
  endUpload(tx: Tx, volumeId: string): Promise<void>;
}

/** What snapshots ask of their volume, in the transaction of their request. */
export interface VolumesForSnapshots {
  /** Locks the volume, when the caller may see it; 404 otherwise. Volumes are locked before what belongs to them. */
  lock(tx: Tx, caller: Caller, volumeId: string): Promise<Volume>;
  /** The same; 400 unless the volume is available or, when `inUse` allows it, in-use. */
  lockForSnapshot(tx: Tx, caller: Caller, volumeId: string, options: { readonly inUse: boolean }): Promise<Volume>;
  /** available, and attached to nothing → reverting. False in any other state. */
  beginRevert(tx: Tx, volume: Volume): Promise<boolean>;
  /** reverting → available, or error when the revert failed. Repeatable; a volume in another state is left alone. */
  endRevert(tx: Tx, volumeId: string, outcome: 'done' | 'failed'): Promise<void>;
  /** The layer that the volume writes to now; undefined when the volume is gone. */
  topLayerOf(tx: Tx, volumeId: string): Promise<string | null | undefined>;
}
