import type { AuditFinding } from '../../engine/repository/commit.ts';
import type { SpaceAccount } from '../../engine/space/contract.ts';
import type { DataMover } from '../../engine/transfer/contract.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/contract.ts';
import type { Events } from '../events/service.ts';
import type { StepContext } from '../jobs/saga.ts';
import type { VolumesForBackups } from '../volumes/contract.ts';
import type { VolumeMeta } from './backup.ts';
import type { Repositories } from './repositories.ts';

/** Everything that is needed of the backup's row: it may be deleted by force meanwhile. */
export type RestoreInput = {
  readonly backupId: string;
  /** The project of the backup: its chunks and key. */
  readonly domain: string;
  readonly repositoryId: string;
  readonly session: string;
  readonly root: string;
  readonly sourceVolumeId: string;
  readonly volumeMeta: VolumeMeta;
  readonly volumeId: string;
  readonly volumeSizeGib: number;
  /** The volume was made for this restore. */
  readonly intoNewVolume: boolean;
  /** Of a volume that has a disk: what that disk becomes, and the overlay that is written on it. */
  readonly onto: { readonly frozenPointId: string; readonly frozenTopLayerId: string; readonly overlayLayerId: string } | null;
  /** A whole new base: for a volume without a disk, or when its disk cannot be read. */
  readonly baseLayerId: string;
  /** On the overlay or on the base. */
  readonly pointId: string;
  readonly topLayerId: string;
};

export interface RestoreJobDeps {
  readonly database: Database;
  readonly disks: DisksService;
  readonly mover: Pick<DataMover, 'restore' | 'restoreOnto'>;
  readonly volumes: VolumesForBackups;
  readonly repositories: Repositories;
  readonly space: Pick<SpaceAccount, 'reserve'>;
  readonly events: Pick<Events, 'record'>;
  readonly log: Log;
}

/** Of the step `freeze`. */
export type FreezeOutput = { readonly isFrozen: boolean };

/** Of the step `write`, as soon as it is known. */
export type WriteNote = {
  /** The volume's disk cannot be read. */
  readonly isUnreadable?: true;
  /** What the audit found. */
  readonly finding?: { readonly wrong: AuditFinding['wrong']; readonly offsetBytes: number; readonly baseSession?: string };
};

export type RestoreContext = StepContext<RestoreInput>;

export const gib = 1024 ** 3;

/** Of both points of a restore. */
export const holderOf = (context: RestoreContext): string => `restore:${context.sagaId}`;
