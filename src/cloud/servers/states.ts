/**
 * The states of a server. `vmState` is what it is when nothing is being done to it, `taskState` what is being done: one task at a time, owned by one saga, which
 * always ends it. Only deletion interrupts another task. A change that is not in `tasks` does not happen.
 */
const vmStates = ['building', 'active', 'paused', 'stopped', 'error'] as const;
export type VmState = (typeof vmStates)[number];

export const taskStates = [
  'scheduling',
  'powering-on',
  'powering-off',
  'rebooting',
  'rebooting_hard',
  'pausing',
  'unpausing',
  'rebuilding',
  'image_snapshot_pending',
  'image_snapshot',
  'deleting',
] as const;
export type TaskState = (typeof taskStates)[number];

interface Task {
  readonly from: readonly VmState[];
  readonly task: TaskState;
  /** Also while another task runs, which then ends. */
  readonly interrupts?: true;
}

/** By the name that refusals use. */
export const tasks = {
  start: { from: ['stopped'], task: 'powering-on' },
  stop: { from: ['active', 'error'], task: 'powering-off' },
  reboot: { from: ['active'], task: 'rebooting' },
  reboot_hard: { from: ['active', 'stopped', 'paused', 'error'], task: 'rebooting_hard' },
  pause: { from: ['active'], task: 'pausing' },
  unpause: { from: ['paused'], task: 'unpausing' },
  snapshot: { from: ['active', 'paused', 'stopped'], task: 'image_snapshot_pending' },
  delete: { from: vmStates, task: 'deleting', interrupts: true },
} as const satisfies Record<string, Task>;

export type TaskName = keyof typeof tasks;

/** Nova's numbers. */
export const powerStates = { none: 0, running: 1, paused: 3, shutDown: 4, crashed: 6 } as const;
export type PowerState = (typeof powerStates)[keyof typeof powerStates];

interface Standing {
  readonly vmState: VmState;
  readonly taskState: TaskState | null;
}

/** What clients call the two together. */
export function statusOf({ vmState, taskState }: Standing): string {
  switch (vmState) {
    case 'building':
      return 'BUILD';
    case 'paused':
      return 'PAUSED';
    case 'stopped':
      return taskState === 'rebuilding' ? 'REBUILD' : taskState === 'rebooting_hard' ? 'HARD_REBOOT' : 'SHUTOFF';
    case 'error':
      return 'ERROR';
    case 'active':
      if (taskState === 'rebooting') return 'REBOOT';
      if (taskState === 'rebooting_hard') return 'HARD_REBOOT';
      return taskState === 'rebuilding' ? 'REBUILD' : 'ACTIVE';
  }
}

/** For lists that are filtered by what clients call it: which servers may have that status. Undefined: none. */
export function vmStateOf(status: string): VmState | undefined {
  return ({ BUILD: 'building', PAUSED: 'paused', SHUTOFF: 'stopped', ERROR: 'error', ACTIVE: 'active' } as const)[status];
}

export const can = {
  begin: ({ vmState, taskState }: Standing, name: TaskName): boolean => {
    const task: Task = tasks[name];
    return task.from.includes(vmState) && (taskState === null || task.interrupts === true);
  },
  changeDisks: ({ vmState }: Standing): boolean => vmState === 'active' || vmState === 'paused' || vmState === 'stopped',
};
