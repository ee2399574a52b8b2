import type { StringMap, Timestamp, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
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
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp | null;
}

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
