import { describe, expect, test } from 'vitest';
import { backupStatuses, can, transitions } from './states.ts';

describe('the states of a backup', () => {
  test('every transient state can be left, both ways', () => {
    const leaving = Object.values(transitions);
    for (const status of ['creating', 'restoring', 'deleting'] as const) {
      expect(leaving.some(({ from }) => (from as readonly string[]).includes(status))).toBe(true);
    }
    expect(transitions.createFailed.to).toBe('error');
    expect(transitions.restoreEnded.to).toBe('available');
  });

  test('deletion is possible from available and error only, by force from everything but deletion itself', () => {
    expect(backupStatuses.filter((status) => can.delete({ status }))).toEqual(['available', 'error']);
    expect(backupStatuses.filter((status) => !can.forceDelete({ status }))).toEqual(['deleting']);
  });

  test('without a commit a backup is never called available', () => {
    for (const status of backupStatuses) expect(can.beReset({ status, root: null }, 'available')).toBe(false);
    expect(can.beReset({ status: 'error', root: 'ab' }, 'available')).toBe(true);
  });

  test('a backup that is being deleted is not called back', () => {
    expect(can.beReset({ status: 'deleting', root: 'ab' }, 'available')).toBe(false);
    expect(can.beReset({ status: 'deleting', root: 'ab' }, 'error')).toBe(false);
  });
});
