import { describe, expect, it } from 'vitest';
import { type ObjectStore, type StoredObject, StoreError } from './contract.ts';

/** What `contract.ts` promises, as tests that every driver passes. `open` gives a new empty store. */
export function describeObjectStore(name: string, open: () => Promise<ObjectStore>): void {
  const listed = async (store: ObjectStore, prefix: string): Promise<StoredObject[]> => {
    const objects: StoredObject[] = [];
    for await (const object of store.list(prefix)) objects.push(object);
    return objects;
  };
  const content = async (store: ObjectStore, objectName: string): Promise<string> => {
    const target = Buffer.alloc((await store.length(objectName)) ?? 0);
    await store.read(objectName, 0, target);
    return target.toString();
  };
  const kindOf = async (call: () => unknown): Promise<string> => {
    try {
      await call();
    } catch (error) {
      return error instanceof StoreError ? error.kind : `no store error: ${error}`;
    }
    return 'no error';
  };

  describe(name, () => {
    it('returns what was put', async () => {
      const store = await open();
      expect(await store.put('c/ab/one', Buffer.from('first'))).toBe('created');
      expect(await content(store, 'c/ab/one')).toBe('first');
      expect(await store.length('c/ab/one')).toBe(5);
    });

    it('creates a name once, whoever asks', async () => {
      const store = await open();
      const results = await Promise.all(['a', 'b', 'c', 'd'].map((text) => store.put('c/ab/one', Buffer.from(`writer ${text}`))));
      expect(results.toSorted()).toEqual(['created', 'exists', 'exists', 'exists']);
      expect(await content(store, 'c/ab/one')).toBe(`writer ${'abcd'[results.indexOf('created')]}`);
    });

    it('takes objects for one new folder from many writers at once', async () => {
      const store = await open();
      const results = await Promise.all(
        Array.from({ length: 8 }, async (_, i) => {
          const writer = await store.create(`p/ab/pack-${i}`);
          await writer.append([Buffer.from(`${i}`)]);
          return writer.commit();
        }),
      );
      expect(new Set(results)).toEqual(new Set(['created']));
    });

    it('knows its own bytes again when a success was not acknowledged', async () => {
      const store = await open();
      await store.put('c/ab/one', Buffer.from('token 1'));
      expect(await store.put('c/ab/one', Buffer.from('token 1'))).toBe('created');
      expect(await store.put('c/ab/one', Buffer.from('token 2'))).toBe('exists');
      expect(await content(store, 'c/ab/one')).toBe('token 1');
    });

    it('shows a large object only after its commit', async () => {
      const store = await open();
      const writer = await store.create('p/ab/pack');
      await writer.append([Buffer.from('one '), Buffer.from('two ')]);
      await writer.append([Buffer.from('three')]);
      expect(await store.length('p/ab/pack')).toBeUndefined();
      expect(await listed(store, 'p/')).toEqual([]);
      expect(await writer.commit()).toBe('created');
      expect(await content(store, 'p/ab/pack')).toBe('one two three');
    });

    it('has its own copy of what was appended', async () => {
      const store = await open();
      const writer = await store.create('p/ab/pack');
      const part = Buffer.from('before');
      await writer.append([part]);
      part.fill('x');
      await writer.commit();
      expect(await content(store, 'p/ab/pack')).toBe('before');
    });

    it('leaves nothing of an aborted object', async () => {
      const store = await open();
      const writer = await store.create('p/ab/pack');
      await writer.append([Buffer.from('gone')]);
      await writer.abort();
      await writer.abort();
      expect(await store.length('p/ab/pack')).toBeUndefined();
      expect(await listed(store, '')).toEqual([]);
    });

    it('does not replace an object with a large one', async () => {
      const store = await open();
      await store.put('p/ab/pack', Buffer.from('first'));
      const writer = await store.create('p/ab/pack');
      await writer.append([Buffer.from('second')]);
      expect(await writer.commit()).toBe('exists');
      expect(await content(store, 'p/ab/pack')).toBe('first');
    });

    it('reads any range, and says when an object is missing or too short', async () => {
      const store = await open();
      await store.put('c/ab/one', Buffer.from('0123456789'));
      const target = Buffer.alloc(4);
      await store.read('c/ab/one', 3, target);
      expect(target.toString()).toBe('3456');
      expect(await kindOf(() => store.read('c/ab/one', 8, target))).toBe('short');
      expect(await kindOf(() => store.read('c/ab/two', 0, target))).toBe('missing');
    });

    it('lists by folder and by the beginning of a name, in order', async () => {
      const store = await open();
      for (const objectName of ['p/ab/s1-2', 'p/ab/s2-1', 'p/cd/s3-1', 'p/ab/s1-1', 'c/ab/s1'])
        await store.put(objectName, Buffer.from(objectName));
      expect((await listed(store, 'p/ab/s1-')).map((object) => object.name)).toEqual(['p/ab/s1-1', 'p/ab/s1-2']);
      expect((await listed(store, 'p/')).map((object) => object.name)).toEqual(['p/ab/s1-1', 'p/ab/s1-2', 'p/ab/s2-1', 'p/cd/s3-1']);
      expect(await listed(store, 'c/')).toEqual([{ name: 'c/ab/s1', lengthBytes: 7 }]);
      expect(await listed(store, 'x/')).toEqual([]);
    });

    it('deletes, and does not mind when there is nothing to delete', async () => {
      const store = await open();
      await store.put('c/ab/one', Buffer.from('first'));
      await store.read('c/ab/one', 0, Buffer.alloc(1));
      await store.delete('c/ab/one');
      await store.delete('c/ab/one');
      expect(await store.length('c/ab/one')).toBeUndefined();
      expect(await kindOf(() => store.read('c/ab/one', 0, Buffer.alloc(1)))).toBe('missing');
    });

    it.each(['../escape', '/absolute', 'p//double', 'p/../../etc', '', 'p/', 'p/.hidden'])('refuses %j as a name', async (objectName) => {
      const store = await open();
      expect(await kindOf(() => store.put(objectName, Buffer.from('x')))).toBe('unsupported');
    });
  });
}
