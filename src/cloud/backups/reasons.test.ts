import { describe, expect, test } from 'vitest';
import { RepositoryError } from '../../engine/repository/errors.ts';
import { SpaceError } from '../../engine/space/contract.ts';
import { failReasonOf } from './backup.ts';
import { explained, reasonOf, withNewMover } from './reasons.ts';

const never = new AbortController().signal;

describe('why a backup or restore failed', () => {
  test('corrupted data is named by the ranges of the disk', () => {
    const ranges = [1, 3, 5, 7, 9].map((chunk) => ({ offsetBytes: chunk * 65_536, lengthBytes: 65_536 }));
    expect(reasonOf(new RepositoryError('corrupted', 'p/00/aa', { ranges: ranges.slice(0, 1) }))).toBe(
      'Stored data is corrupted: disk bytes 65536-131071 cannot be read.',
    );
    expect(reasonOf(new RepositoryError('corrupted', 'p/00/aa', { ranges }))).toMatch(/and 1 more ranges cannot be read\.$/);
  });

  test('a full disk is called that, whoever ran into it', () => {
    const systemError = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    for (const error of [systemError, new RepositoryError('full', 'p/00/aa')]) expect(reasonOf(error)).toBe('No space left on the disk.');
    expect(reasonOf(new SpaceError('Not enough space: 1 MiB are needed.'))).toBe('Not enough space: 1 MiB are needed.');
  });

  test('the original error stays as the cause', async () => {
    const original = new RepositoryError('transport', 'connection reset');
    await expect(explained(never, () => Promise.reject(original))).rejects.toMatchObject({
      message: 'The repository did not answer.',
      cause: original,
    });
  });

  test('an abort is not explained away', async () => {
    const reason = new Error('cancelled');
    await expect(explained(AbortSignal.abort(reason), () => Promise.reject(reason))).rejects.toBe(reason);
  });

  test('a reason fits into the column', () => {
    expect(failReasonOf('x'.repeat(1_000))).toHaveLength(255);
    expect(failReasonOf('short')).toBe('short');
  });
});

describe('work that the data mover left undone by dying', () => {
  test('is begun again, but not for ever', async () => {
    let calls = 0;
    const dying = (): Promise<never> => {
      calls += 1;
      return Promise.reject(new RepositoryError('interrupted', 'the data mover ended'));
    };
    await expect(withNewMover(never, dying)).rejects.toThrow('the data mover ended');
    expect(calls).toBe(3);
  });

  test('is not begun again after any other failure', async () => {
    let calls = 0;
    const failing = (): Promise<never> => {
      calls += 1;
      return Promise.reject(new RepositoryError('full', 'no room'));
    };
    await expect(withNewMover(never, failing)).rejects.toThrow('no room');
    expect(calls).toBe(1);
  });
});
