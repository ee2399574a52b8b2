/**
 * The states of a snapshot. Every update of a status asks for the states that `transitions` names as its starting points.
 *
 * `creating`, `deleting`, `backing-up` and `restoring` (its volume is being reverted to it) are transient, and each is owned by one saga, which always leaves it.
 */
export const snapshotStatuses = [
  'creating',
  'available',
  'deleting',
  'error',
  'error_deleting',
  'deleted',
  'updating',
  'unmanaging',
  'backing-up',
  'restoring',
] as const;

export type SnapshotStatus = (typeof snapshotStatuses)[number];

interface Transition {
  readonly from: readonly SnapshotStatus[];
  readonly to: SnapshotStatus;
}

export const transitions = {
  created: { from: ['creating'], to: 'available' },
  createFailed: { from: ['creating'], to: 'error' },
  deleteBegun: { from: ['available', 'error'], to: 'deleting' },
  partDeleteBegun: { from: ['available', 'error', 'error_deleting'], to: 'deleting' },
  /** From any: a backup that reads the snapshot's point holds it itself, and two deletions do no more than one. */
  forceDeleteBegun: { from: snapshotStatuses, to: 'deleting' },
  deleteFailed: { from: ['deleting'], to: 'error_deleting' },
  backupBegun: { from: ['available'], to: 'backing-up' },
  backupEnded: { from: ['backing-up'], to: 'available' },
  revertBegun: { from: ['available'], to: 'restoring' },
  revertEnded: { from: ['restoring'], to: 'available' },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof transitions;

export function isSnapshotStatus(text: string): text is SnapshotStatus {
  return (snapshotStatuses as readonly string[]).includes(text);
}

/** The changes that a driver may report through `os-update_snapshot_status`. */
export const reportableChanges: Readonly<Partial<Record<SnapshotStatus, readonly SnapshotStatus[]>>> = {
  creating: ['creating', 'available', 'error'],
  deleting: ['deleting', 'error_deleting'],
};
