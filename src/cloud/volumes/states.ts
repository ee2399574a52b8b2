/**
 * The states of a volume, and which change may start from which. `transitions` is the whole of it: every update of a status asks for
 * the states that the table names as its starting points, so a change that is not in the table does not happen.
 *
 * Transient states are `creating`, `downloading`, `deleting`, `extending`, `backing-up`, `restoring-backup`, `reverting` and `uploading`: each
 * is owned by one saga, which always leaves it. `attaching` and `detaching` belong to the client that attaches.
 */
export const volumeStatuses = [
  'creating',
  'available',
  'reserved',
  'attaching',
  'detaching',
  'in-use',
  'maintenance',
  'deleting',
  'awaiting-transfer',
  'error',
  'error_deleting',
  'error_managing',
  'managing',
  'backing-up',
  'error_backing-up',
  'restoring-backup',
  'error_restoring',
  'downloading',
  'uploading',
  'retyping',
  'extending',
  'error_extending',
  'reverting',
] as const;

export type VolumeStatus = (typeof volumeStatuses)[number];

interface Transition {
  readonly from: readonly VolumeStatus[];
  /** `previous`: back to where the volume came from. */
  readonly to: VolumeStatus | 'previous';
}

export const transitions = {
  downloadBegun: { from: ['creating'], to: 'downloading' },
  created: { from: ['creating', 'downloading'], to: 'available' },
  createFailed: { from: ['creating', 'downloading'], to: 'error' },
  deleteBegun: { from: ['available', 'error', 'error_restoring', 'error_extending', 'error_managing'], to: 'deleting' },
  /** With its whole group, which may be tried again. */
  memberDeleteBegun: {
    from: ['available', 'error', 'error_restoring', 'error_extending', 'error_managing', 'error_deleting'],
    to: 'deleting',
  },
  /** With the server that it was made for, which may never have come to be. */
  serverDiskDeleteBegun: {
    from: ['creating', 'available', 'error', 'error_restoring', 'error_extending', 'error_deleting'],
    to: 'deleting',
  },
  deleteFailed: { from: ['deleting'], to: 'error_deleting' },
  reserved: { from: ['available'], to: 'attaching' },
  unreserved: { from: ['attaching'], to: 'previous' },
  attached: { from: ['available', 'attaching', 'reserved'], to: 'in-use' },
  detachBegun: { from: ['in-use'], to: 'detaching' },
  detachRolledBack: { from: ['detaching'], to: 'in-use' },
  /** The service died during an attach or detach; see recover.ts. */
  attachInterrupted: { from: ['attaching', 'detaching'], to: 'in-use' },
  reservationLost: { from: ['attaching', 'detaching'], to: 'available' },
  /** The steps of an attachment that is a thing of its own; see attachments.ts. */
  attachmentReserved: { from: ['available'], to: 'reserved' },
  attachmentConnecting: { from: ['reserved', 'attaching'], to: 'attaching' },
  attachedRemains: { from: ['in-use', 'detaching', 'attaching', 'reserved'], to: 'in-use' },
  attachingRemains: { from: ['in-use', 'detaching', 'attaching', 'reserved'], to: 'attaching' },
  reservedRemains: { from: ['in-use', 'detaching', 'attaching', 'reserved'], to: 'reserved' },
  detached: { from: ['in-use', 'detaching', 'attaching', 'reserved'], to: 'available' },
  extendBegun: { from: ['available'], to: 'extending' },
  extended: { from: ['extending'], to: 'available' },
  extendFailed: { from: ['extending'], to: 'error_extending' },
  backupBegun: { from: ['available', 'in-use'], to: 'backing-up' },
  backupEnded: { from: ['backing-up'], to: 'previous' },
  restoreBegun: { from: ['available'], to: 'restoring-backup' },
  restored: { from: ['creating', 'restoring-backup'], to: 'available' },
  restoreFailed: { from: ['creating', 'restoring-backup'], to: 'error_restoring' },
  restoreOfNewFailed: { from: ['creating', 'restoring-backup'], to: 'error' },
  revertBegun: { from: ['available'], to: 'reverting' },
  reverted: { from: ['reverting'], to: 'available' },
  revertFailed: { from: ['reverting'], to: 'error' },
  reimageBegun: { from: ['available', 'error', 'reserved'], to: 'downloading' },
  reimaged: { from: ['downloading'], to: 'previous' },
  reimageFailed: { from: ['downloading'], to: 'error' },
  /** A layer of its disk is missing or damaged: nobody can open it. */
  damaged: { from: ['available', 'in-use'], to: 'error' },
  uploadBegun: { from: ['available'], to: 'uploading' },
  transferBegun: { from: ['available'], to: 'awaiting-transfer' },
  transferEnded: { from: ['awaiting-transfer'], to: 'available' },
  uploadEnded: { from: ['uploading'], to: 'previous' },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof transitions;

export function isVolumeStatus(text: string): text is VolumeStatus {
  return (volumeStatuses as readonly string[]).includes(text);
}

const isIn = (status: VolumeStatus, states: readonly VolumeStatus[]): boolean => states.includes(status);

/** What needs more than one transition to say. Services, fronts and disabled buttons quote these. */
export const can = {
  begin: (volume: { status: VolumeStatus }, name: TransitionName) => isIn(volume.status, transitions[name].from),
  /** A clone starts from a point of the source, so the source must have a whole disk that nobody is replacing. */
  beCloned: (volume: { status: VolumeStatus }) => isIn(volume.status, ['available', 'in-use']),
  connect: (volume: { status: VolumeStatus }) => isIn(volume.status, ['available', 'reserved', 'attaching', 'in-use']),
  reserveAgain: (volume: { status: VolumeStatus }) => isIn(volume.status, ['reserved', 'attaching', 'in-use']),
  retype: (volume: { status: VolumeStatus }) => isIn(volume.status, ['available', 'in-use']),
  beReimaged: (volume: { status: VolumeStatus }, options: { evenReserved: boolean }) =>
    volume.status !== 'reserved' ? isIn(volume.status, transitions.reimageBegun.from) : options.evenReserved,
  beSnapshotted: (volume: { status: VolumeStatus }, options: { inUse: boolean }) =>
    volume.status === 'available' || (volume.status === 'in-use' && options.inUse),
};
