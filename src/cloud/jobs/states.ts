/**
 * The states of a saga.
 *
 *   pending → running → done
 *      ↘         ↓
 *        → → undoing → failed | cancelled
 *
 * `pending`: nobody has taken it. `running` and `undoing`: it has an owner, alive or dead. The last three are final.
 */
export type SagaStatus = 'pending' | 'running' | 'undoing' | 'done' | 'failed' | 'cancelled';

export const unfinishedStatuses = ['pending', 'running', 'undoing'] as const satisfies readonly SagaStatus[];

export function isFinal(status: SagaStatus): boolean {
  return !(unfinishedStatuses as readonly SagaStatus[]).includes(status);
}
