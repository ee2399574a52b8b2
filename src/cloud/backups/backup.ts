import type { StringMap, Timestamp } from '../database/service.ts';
import type { BackupStatus } from './states.ts';

/** The volume as it was when it was backed up: what a restore brings back beside the bytes. */
export type VolumeMeta = {
  readonly name: string | null;
  readonly description: string | null;
  readonly bootable: boolean;
  readonly metadata: StringMap;
  readonly imageMetadata: StringMap;
};

export interface Backup {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly volumeId: string;
  readonly snapshotId: string | null;
  readonly parentId: string | null;
  readonly name: string | null;
  readonly description: string | null;
  readonly status: BackupStatus;
  readonly failReason: string | null;
  /** The volume's size then, whatever the backup takes. */
  readonly sizeGib: number;
  readonly objectCount: number;
  readonly container: string | null;
  readonly availabilityZone: string | null;
  readonly metadata: StringMap;
  readonly volumeMeta: VolumeMeta;
  readonly restoreVolumeId: string | null;
  /** The volumes that it is being restored to just now. */
  readonly restoreVolumeIds: readonly string[];
  /** The dedupe domain that its commit is in: the owner's, or that of the project whose record was imported. */
  readonly domain: string;
  readonly dataTimestamp: Timestamp;
  readonly repositoryId: string | null;
  /** The commit in the repository, and the identity of the disk that it holds; null until it is there. */
  readonly session: string | null;
  readonly root: string | null;
  readonly pointId: string | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp | null;
  /** Backups that have this one as their parent, in any state. */
  readonly dependentCount: number;
}

/** Cinder's own limit on the column. */
const failReasonLengthMax = 255;

export function failReasonOf(message: string): string {
  return message.length <= failReasonLengthMax ? message : `${message.slice(0, failReasonLengthMax - 1)}…`;
}
