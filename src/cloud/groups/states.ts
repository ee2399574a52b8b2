/**
 * The states of groups and of group snapshots. Every update of a status asks for the states that the tables name as its starting points.
 * `creating` and `deleting` are transient, and each is owned by one saga, which always leaves it.
 */
export const groupStatuses = ['creating', 'available', 'error', 'updating', 'deleting', 'error_deleting', 'in-use', 'deleted'] as const;
export type GroupStatus = (typeof groupStatuses)[number];

export const groupSnapshotStatuses = ['creating', 'available', 'error', 'deleting', 'error_deleting', 'deleted'] as const;
export type GroupSnapshotStatus = (typeof groupSnapshotStatuses)[number];

export const groupTransitions = {
  created: { from: ['creating'], to: 'available' },
  createFailed: { from: ['creating'], to: 'error' },
  deleteBegun: { from: ['available', 'error', 'error_deleting'], to: 'deleting' },
  deleteFailed: { from: ['deleting'], to: 'error_deleting' },
} as const satisfies Record<string, { readonly from: readonly GroupStatus[]; readonly to: GroupStatus }>;

export const groupSnapshotTransitions = {
  created: { from: ['creating'], to: 'available' },
  createFailed: { from: ['creating'], to: 'error' },
  deleteBegun: { from: ['available', 'error', 'error_deleting'], to: 'deleting' },
  deleteFailed: { from: ['deleting'], to: 'error_deleting' },
} as const satisfies Record<string, { readonly from: readonly GroupSnapshotStatus[]; readonly to: GroupSnapshotStatus }>;

export type GroupTransition = keyof typeof groupTransitions;
export type GroupSnapshotTransition = keyof typeof groupSnapshotTransitions;

export const isGroupStatus = (text: string): text is GroupStatus => (groupStatuses as readonly string[]).includes(text);
export const isGroupSnapshotStatus = (text: string): text is GroupSnapshotStatus =>
  (groupSnapshotStatuses as readonly string[]).includes(text);
