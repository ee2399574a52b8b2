import type { ListColumn, ListQuery } from '../database/lists.ts';
import type { StringMap, Timestamp, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Volume } from '../volumes/service.ts';
import type { SnapshotStatus } from './states.ts';

export interface Snapshot {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly volumeId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly status: SnapshotStatus;
  /** `0%` to `100%`. */
  readonly progress: string;
  readonly sizeGib: number;
  readonly metadata: StringMap;
  /** The moment that it keeps; null until it is made. */
  readonly pointId: string | null;
  /** Of which group snapshot it is a part. */
  readonly groupSnapshotId: string | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp | null;
}

/** The names under which lists may be sorted and filtered. */
export const snapshotColumns = {
  id: { column: 'id', kind: 'uuid' },
  project_id: { column: 'project_id', kind: 'text' },
  user_id: { column: 'user_id', kind: 'text' },
  volume_id: { column: 'volume_id', kind: 'uuid' },
  name: { column: 'name', kind: 'text', nullable: true },
  description: { column: 'description', kind: 'text', nullable: true },
  status: { column: 'status', kind: 'text' },
  progress: { column: 'progress', kind: 'text' },
  size: { column: 'size_gib', kind: 'number' },
  group_snapshot_id: { column: 'group_snapshot_id', kind: 'uuid', nullable: true },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type SnapshotColumn = keyof typeof snapshotColumns;
export type SnapshotListQuery = ListQuery<SnapshotColumn>;

export interface SnapshotPage {
  readonly snapshots: readonly Snapshot[];
  readonly count?: number;
}

/** What a backup of a snapshot does to the snapshot. Compare-and-set, in the caller's transaction. */
export interface SnapshotsForBackups {
  /** The snapshot, when the caller may see it; else the contract's 404. Locked until the end of the transaction. */
  getForUpdate(tx: Tx, caller: Caller, snapshotId: string): Promise<Snapshot>;
  /** available → backing-up, else the contract's 400. Its point stays held by the snapshot meanwhile, for a backing-up snapshot cannot be deleted. */
  beginBackup(tx: Tx, caller: Caller, snapshotId: string): Promise<Snapshot>;
  /** backing-up → available. Repeatable; a snapshot in another state is left alone. */
  endBackup(tx: Tx, snapshotId: string): Promise<void>;
}

/** What giving a volume away does to its snapshots, in the transaction of the request. */
export interface SnapshotsForTransfers {
  /** The snapshots that the volume's own project has of it, locked. An earlier owner may have kept some. */
  lockOf(tx: Tx, volume: Pick<Volume, 'id' | 'projectId'>): Promise<Snapshot[]>;
  giveTo(
    tx: Tx,
    volume: Pick<Volume, 'id' | 'projectId'>,
    receiver: { readonly projectId: string; readonly userId: string },
  ): Promise<void>;
}

/** The snapshots that an image of a server consists of. */
export interface SnapshotsForServers {
  /** A row in status creating, its quota reserved. The volume is locked. */
  insert(tx: Tx, caller: Caller, part: Omit<NewPart, 'groupSnapshotId'>): Promise<void>;
  /** creating → available at its point. False: it is being deleted, or was reset, and has no use for the point. Repeatable. */
  finish(tx: Tx, snapshotId: string, pointId: string): Promise<boolean>;
  /** Whether it is there with its point, which its hold keeps. */
  isFinished(tx: Tx, snapshotId: string, pointId: string): Promise<boolean>;
  /** One that came to nothing goes; one that was finished stays. Repeatable. */
  drop(tx: Tx, snapshotId: string): Promise<void>;
  holderOf(snapshotId: string): string;
}

/** The snapshots that are parts of a group snapshot. */
export interface SnapshotsForGroups {
  /** A row in status creating, its quota reserved. The volume is locked. */
  insertPart(tx: Tx, caller: Caller, part: NewPart): Promise<void>;
  /** creating → available at its point. False: it is being deleted, or was reset, and has no use for the point. Repeatable. */
  finish(tx: Tx, snapshotId: string, pointId: string): Promise<boolean>;
  /** creating → error. Repeatable. */
  fail(tx: Tx, snapshotId: string): Promise<void>;
  /** Those of the group snapshot, locked. */
  lockParts(tx: Tx, groupSnapshotId: string): Promise<Snapshot[]>;
  hasAny(tx: Tx, volumeId: string): Promise<boolean>;
  /** → deleting; false in a state that a snapshot cannot be deleted from. */
  beginDelete(tx: Tx, snapshotId: string): Promise<boolean>;
  /** Releases the points of the group snapshot's parts and removes their rows. Repeatable. */
  removeParts(tx: Tx, groupSnapshotId: string): Promise<void>;
  /** deleting → error_deleting. Repeatable. */
  failDelete(tx: Tx, snapshotId: string): Promise<void>;
  /** Whose hold keeps the point of a snapshot. */
  holderOf(snapshotId: string): string;
}

export interface NewPart {
  readonly id: string;
  readonly volume: Volume;
  readonly groupSnapshotId: string;
  readonly name: string | null;
  readonly description: string | null;
}
