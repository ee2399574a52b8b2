import type { StringMap } from '../database/service.ts';

/** What a client asks for, checked by the front for form only. */
export interface CreateBackupOrder {
  readonly volumeId: string;
  readonly snapshotId: string | null;
  readonly name: string | null;
  readonly description: string | null;
  readonly container: string | null;
  readonly incremental: boolean;
  readonly force: boolean;
  readonly metadata: StringMap;
  readonly availabilityZone: string | null;
}

export interface RestoreBackupOrder {
  /** Null: a new volume. */
  readonly volumeId: string | null;
  /** Of the new volume. */
  readonly name: string | null;
}

/** Of a new volume from a backup. Null = what the backup, or the default, says. */
export interface VolumeOrder {
  readonly name: string | null;
  readonly description: string | null;
  readonly sizeGib: number | null;
  readonly volumeType: string | null;
  readonly availabilityZone: string | null;
  readonly metadata: StringMap;
}

export interface Restore {
  readonly backupId: string;
  readonly volumeId: string;
  /** Empty for a volume without a name. */
  readonly volumeName: string;
}
