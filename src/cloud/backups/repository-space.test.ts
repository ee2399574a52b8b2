import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createSpaceAccount } from '../../engine/space/space-account.ts';
import { guardSpaceIn, requireSpaceIn } from './repository-space.ts';

const mib = 2 ** 20;
const repository = { id: 'r', store: { kind: 'filesystem', path: join(tmpdir(), 'no-repository') }, keyFile: '', cacheDir: '' } as const;

function accountWith(free: { mib: number }, keptBytes: number) {
  return createSpaceAccount({ keptBytes, ask: async () => ({ capacityBytes: 1000 * mib, freeBytes: free.mib * mib }) });
}

test('a backup begins while there is space above what is kept back', async () => {
  const free = { mib: 12 };
  const space = accountWith(free, 10 * mib);
  await requireSpaceIn(space, repository);
  expect((await space.figures(repository.store.path)).reservedBytes).toBe(0);
  free.mib = 10;
  await expect(requireSpaceIn(space, repository)).rejects.toThrow('Not enough space for the backup: 1 MiB are needed, 0 MiB are free');
});

test('a running backup is ended when what is kept back, or reserved by others, would be next', async () => {
  const free = { mib: 30 };
  const space = accountWith(free, 10 * mib);
  await space.reserve({ path: join(tmpdir(), 'no-restore'), bytes: 15 * mib });
  const guard = guardSpaceIn(space, repository);
  const looked = async (): Promise<boolean> => {
    guard.look();
    await expect.poll(() => space.figures(repository.store.path)).toBeDefined();
    return guard.signal.aborted;
  };
  expect(await looked()).toBe(false);
  free.mib = 25;
  expect(await looked()).toBe(false);
  free.mib = 24;
  guard.look();
  await new Promise((resolve) => guard.signal.addEventListener('abort', resolve));
  expect(guard.signal.reason).toMatchObject({
    name: 'SpaceError',
    message: "Not enough space for the backup: only the 25 MiB kept back are left on the repository's disk.",
  });
});

test('where nothing is kept back, the disk itself says when it is full', async () => {
  const guard = guardSpaceIn(accountWith({ mib: 0 }, 0), repository);
  guard.look();
  await accountWith({ mib: 0 }, 0).figures(repository.store.path);
  expect(guard.signal.aborted).toBe(false);
});
