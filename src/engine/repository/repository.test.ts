import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type MemoryStore, openMemoryStore } from '../stores/memory/memory-store.ts';
import { initRepository, openRepository } from './repository.ts';

const createdAt = '2026-11-01T00:00:00.000Z';
let folder: string;
let keyFile: string;
let store: MemoryStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillpoint-keys-'));
  keyFile = join(folder, 'deep', 'repository.key');
  store = openMemoryStore();
});
afterEach(() => rmSync(folder, { recursive: true }));

const init = () => initRepository({ store, id: 'one', keyFile, createdAt });

describe('a new repository', () => {
  it('describes itself twice, with the same bytes, and keeps its key apart and private', async () => {
    await init();
    expect([...store.objects.keys()]).toEqual(['repo.json', 'repo-copy.json']);
    expect(store.objects.get('repo.json')?.equals(store.objects.get('repo-copy.json') as Buffer)).toBe(true);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(keyFile, 'utf8')).toMatch(/^stillpoint repository key, format 0\nrepository one\nkey [0-9a-f]{64}\n$/);
  });

  it('is the same one when it is made again, at once or by turns', async () => {
    await Promise.all([init(), init(), init()]);
    const before = new Map(store.objects);
    const key = readFileSync(keyFile, 'utf8');
    await init();
    expect(store.objects).toEqual(before);
    expect(readFileSync(keyFile, 'utf8')).toBe(key);
  });

  it('is completed after a crash at any point of its making', async () => {
    await init();
    store.objects.delete('repo-copy.json');
    await init();
    expect(store.objects.has('repo-copy.json')).toBe(true);
    const key = readFileSync(keyFile, 'utf8');
    renameSync(keyFile, `${keyFile}.new`);
    await init();
    expect(readFileSync(keyFile, 'utf8')).toBe(key);
    renameSync(keyFile, `${keyFile}.new`);
    store.objects.clear();
    await init();
    expect(readFileSync(keyFile, 'utf8')).toBe(key);
  });

  it('is not made again where it should be and is not', async () => {
    await init();
    store.objects.clear();
    await expect(init()).rejects.toMatchObject({ kind: 'missing' });
    expect(store.objects.size).toBe(0);
  });
});

describe('opening a repository', () => {
  it('works with one copy of repo.json damaged or gone', async () => {
    await init();
    for (const name of ['repo.json', 'repo-copy.json']) {
      const whole = store.objects.get(name) as Buffer;
      for (const damaged of [Buffer.from('{'), Buffer.from(whole.toString().replace('65536', '65537')), undefined]) {
        if (damaged === undefined) store.objects.delete(name);
        else store.objects.set(name, damaged);
        expect((await openRepository({ store, keyFile })).id).toBe('one');
      }
      store.objects.set(name, whole);
    }
  });

  it('says corrupted when no copy is whole, and not-found when there is none', async () => {
    await init();
    for (const name of ['repo.json', 'repo-copy.json']) store.objects.set(name, Buffer.from('{'));
    await expect(openRepository({ store, keyFile })).rejects.toMatchObject({ kind: 'corrupted' });
    await expect(openRepository({ store: openMemoryStore(), keyFile })).rejects.toMatchObject({ kind: 'not-found' });
    await init().catch(() => {});
    expect(store.objects.get('repo.json')?.toString()).toBe('{');
  });

  it('is locked out by a missing, unreadable, foreign or wrong key, and never makes a new one', async () => {
    await init();
    const right = readFileSync(keyFile, 'utf8');
    const wrong = [
      right.replace('one', 'two'),
      right.replace(/key [0-9a-f]/, (text) => (text.endsWith('0') ? 'key 1' : 'key 0')),
      'nonsense',
    ];
    for (const text of wrong) {
      writeFileSync(keyFile, text);
      await expect(openRepository({ store, keyFile })).rejects.toMatchObject({ kind: 'locked-out' });
    }
    rmSync(keyFile);
    await expect(init()).rejects.toMatchObject({ kind: 'locked-out' });
  });

  it('refuses a repository of another id or a newer format', async () => {
    await init();
    await expect(openRepository({ store, keyFile, id: 'two' })).rejects.toMatchObject({ kind: 'not-found' });
    store.objects.set('repo.json', Buffer.from(store.objects.get('repo.json')?.toString().replace('"version": 0', '"version": 9') ?? ''));
    await expect(openRepository({ store, keyFile })).rejects.toMatchObject({ kind: 'unsupported' });
  });
});

describe('the keys of a domain', () => {
  it('are made once, even by racing writers, and found by a later opening', async () => {
    const repository = await init();
    const made = await Promise.all([1, 2, 3].map(() => repository.createDomain('project-1')));
    for (const keys of made) expect(keys).toEqual(made[0]);
    expect(await (await openRepository({ store, keyFile })).findDomain('project-1')).toEqual(made[0]);
    expect(await repository.findDomain('project-2')).toBeUndefined();
    expect((await repository.createDomain('project-2')).idKey.equals((made[0] as { idKey: Buffer }).idKey)).toBe(false);
  });

  it('are corrupted when a byte changed, or when they were moved to another domain', async () => {
    const repository = await init();
    await repository.createDomain('project-1');
    const bytes = store.objects.get('k/project-1') as Buffer;
    store.objects.set('k/project-2', bytes);
    await expect(repository.findDomain('project-2')).rejects.toMatchObject({ kind: 'corrupted' });
    store.objects.set('k/project-1', Buffer.from(bytes.toString().replace(/"sealKey": "../, '"sealKey": "AA')));
    await expect(repository.findDomain('project-1')).rejects.toMatchObject({ kind: 'corrupted' });
  });
});
