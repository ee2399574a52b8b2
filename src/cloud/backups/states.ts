/**
 * The states of a backup, and what may be done in each. `transitions` is the whole of it: a change that is not in the table does not
 * happen, because every update asks for the states that the table allows as its starting points.
 *
 * The three transient states are `creating`, `restoring` and `deleting`; each is owned by one saga, which always leaves it.
 */
export const backupStatuses = ['creating', 'available', 'restoring', 'deleting', 'error', 'error_deleting'] as const;

export type BackupStatus = (typeof backupStatuses)[number];

interface Transition {
  readonly from: readonly BackupStatus[];
  readonly to: BackupStatus;
}

export const transitions = {
  /** The commit is in the repository. */
  published: { from: ['creating'], to: 'available' },
  /** The creating saga failed, or was cancelled without the wish to delete. */
  createFailed: { from: ['creating'], to: 'error' },
  restoreBegun: { from: ['available'], to: 'restoring' },
  /** New volumes may be made from a backup that is being restored already. */
  restoreJoined: { from: ['available', 'restoring'], to: 'restoring' },
  /** Both ways a restore ends: the backup is as good as it was. */
  restoreEnded: { from: ['restoring'], to: 'available' },
  deleteBegun: { from: ['available', 'error'], to: 'deleting' },
  /** Deletion by force, from any state but the one it leads to. */
  forceDeleteBegun: { from: ['creating', 'available', 'restoring', 'error', 'error_deleting'], to: 'deleting' },
  deleteFailed: { from: ['deleting'], to: 'error' },
  /** An administrator's word. `deleting` is no starting point: the tombstone may be written already. */
  resetToError: { from: ['available', 'restoring', 'error', 'error_deleting'], to: 'error' },
  /** Only with a commit to vouch for it (see `can.beReset`). */
  resetToAvailable: { from: ['available', 'restoring', 'error'], to: 'available' },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof transitions;

const isIn = (status: BackupStatus, states: readonly BackupStatus[]): boolean => states.includes(status);

/** The rules that services, fronts and disabled buttons quote. */
export const can = {
  restore: (backup: { status: BackupStatus }) => isIn(backup.status, transitions.restoreBegun.from),
  makeVolume: (backup: { status: BackupStatus }) => isIn(backup.status, transitions.restoreJoined.from),
  delete: (backup: { status: BackupStatus }) => isIn(backup.status, transitions.deleteBegun.from),
  forceDelete: (backup: { status: BackupStatus }) => isIn(backup.status, transitions.forceDeleteBegun.from),
  /** Later backups lean on this one in the books only when it holds something. */
  beParent: (backup: { status: BackupStatus }) => backup.status === 'available',
  /** A backup without a commit can be called anything but available. */
  beReset: (backup: { status: BackupStatus; root: string | null }, to: 'available' | 'error') =>
    to === 'available'
      ? backup.root !== null && isIn(backup.status, transitions.resetToAvailable.from)
      : isIn(backup.status, transitions.resetToError.from),
};
