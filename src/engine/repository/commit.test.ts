import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { openMemoryStore } from '../stores/memory/memory-store.ts';
import { type Commit, decodeEnvelope, ENVELOPE_BYTES_MAX, putCommit, putFence, readCommit } from './commit.ts';
import { objectNames, packNameOf } from './format.ts';
import type { DomainKeys, Repository } from './repository.ts';
import { isTombstoned, putTombstone } from './tombstone.ts';

const keys: DomainKeys = { domain: 'project', idKey: randomBytes(32), sealKey: randomBytes(32), macKey: randomBytes(32) };

function makeRepository() {
  const store = openMemoryStore();
  const repository: Repository = { id: 'one', store, findDomain: async () => keys, createDomain: async () => keys };
  return { store, repository };
}

function makeCommit(session = randomBytes(16).toString('hex')): Commit {
  const pack = packNameOf(session, 0);
  const top = { id: randomBytes(16), address: { pack, frame: 2, offsetBytes: 88, lengthBytes: 100 } };
  return {
    session,
    domain: 'project',
    parentSession: undefined,
    map: { sizeBytes: 1 << 30, topLevel: 1, top },
    root: randomBytes(16).toString('hex'),
    packs: [
      { name: pack, kind: 'metadata', lengthBytes: 12_345, live: 17 },
      { name: packNameOf(session, 1), kind: 'data', lengthBytes: 2 ** 33, live: 2 ** 35 },
    ],
    committedAt: '2026-11-01T00:00:00.000Z',
    figures: { objectCount: 1, readBytes: 5, storedBytes: 6 },
    description: { backupId: 'b', name: 'Überraschung', nested: { list: [1, null, 'x'] } },
  };
}

describe('a commit', () => {
  it('comes back with everything in it', async () => {
    const { repository, store } = makeRepository();
    const commit = makeCommit();
    const { lengthBytes } = await putCommit(repository, keys, commit);
    expect(await readCommit(repository, keys, commit.session)).toEqual({ kind: 'commit', commit, lengthBytes });
    const bytes = store.objects.get(objectNames.commit(commit.session)) as Buffer;
    expect(bytes.includes('Überraschung')).toBe(false);
    expect(decodeEnvelope(bytes.subarray(0, ENVELOPE_BYTES_MAX), commit.session)).toEqual({
      kind: 'commit',
      session: commit.session,
      domain: 'project',
    });
  });

  it('is won by one of two racing writers, and the other one learns it', async () => {
    const { repository } = makeRepository();
    const commit = makeCommit();
    const results = await Promise.allSettled([
      putCommit(repository, keys, commit),
      putCommit(repository, keys, { ...commit, root: 'other' }),
    ]);
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected']);
    expect((results[1] as PromiseRejectedResult).reason).toMatchObject({ kind: 'conflict' });
    expect(await readCommit(repository, keys, commit.session)).toMatchObject({ commit: { root: commit.root } });
  });

  it('loses against a fence that was there first, and wins against one that comes later', async () => {
    const { repository } = makeRepository();
    const [late, early] = [makeCommit(), makeCommit()];
    expect(await putFence(repository, keys, late.session)).toBe('fenced');
    await expect(putCommit(repository, keys, late)).rejects.toMatchObject({ kind: 'conflict' });
    expect(await readCommit(repository, keys, late.session)).toEqual({ kind: 'fence' });
    await putCommit(repository, keys, early);
    expect(await putFence(repository, keys, early.session)).toBe('lost');
  });

  it('is corrupted when any byte of it changed', async () => {
    const { repository, store } = makeRepository();
    const commit = makeCommit();
    await putCommit(repository, keys, commit);
    const name = objectNames.commit(commit.session);
    const bytes = store.objects.get(name) as Buffer;
    for (let at = 0; at < bytes.length; at += 1) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ 0x80;
      store.objects.set(name, damaged);
      const kind = await readCommit(repository, keys, commit.session).then(
        () => 'read',
        (error) => error.kind,
      );
      // A changed version is taken for a newer one, a changed domain for another.
      expect(['corrupted', 'unsupported', 'not-found'], `byte ${at}`).toContain(kind);
    }
  });

  it('does not open in another session, repository or domain', async () => {
    const { repository, store } = makeRepository();
    const commit = makeCommit();
    await putCommit(repository, keys, commit);
    const other = randomBytes(16).toString('hex');
    store.objects.set(objectNames.commit(other), store.objects.get(objectNames.commit(commit.session)) as Buffer);
    await expect(readCommit(repository, keys, other)).rejects.toMatchObject({ kind: 'corrupted' });
    await expect(readCommit({ ...repository, id: 'two' }, keys, commit.session)).rejects.toMatchObject({ kind: 'corrupted' });
    await expect(readCommit(repository, { ...keys, domain: 'other' }, commit.session)).rejects.toMatchObject({ kind: 'not-found' });
  });
});

describe('a tombstone', () => {
  it('can be put any number of times', async () => {
    const { repository } = makeRepository();
    const session = randomBytes(16).toString('hex');
    expect(await isTombstoned(repository, session)).toBe(false);
    await putTombstone(repository, keys, session, '2026-11-01T00:00:00.000Z');
    await putTombstone(repository, keys, session, '2026-11-02T00:00:00.000Z');
    expect(await isTombstoned(repository, session)).toBe(true);
  });
});
