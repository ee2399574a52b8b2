import { type CreateResult, checkObjectName, type ObjectStore, StoreError } from '../contract.ts';

/** Objects in the memory of one thread: for tests of the format. `objects` lets a test damage them. */
export interface MemoryStore extends ObjectStore {
  readonly objects: Map<string, Buffer>;
}

export function openMemoryStore(): MemoryStore {
  const objects = new Map<string, Buffer>();

  const createOnce = (name: string, bytes: Buffer): CreateResult => {
    const existing = objects.get(name);
    if (existing !== undefined) return existing.equals(bytes) ? 'created' : 'exists';
    objects.set(name, bytes);
    return 'created';
  };

  return {
    objects,
    capabilities: { linearizableCreate: true, freshList: true },
    async put(name, bytes) {
      checkObjectName(name);
      return createOnce(name, Buffer.from(bytes));
    },
    create(name) {
      checkObjectName(name);
      let parts: Buffer[] | undefined = [];
      return {
        append(added) {
          if (parts === undefined) throw new StoreError('transport', `${name} was ended already`);
          parts.push(...added.map((part) => Buffer.from(part)));
        },
        async commit() {
          if (parts === undefined) throw new StoreError('transport', `${name} was ended already`);
          const bytes = Buffer.concat(parts);
          parts = undefined;
          return createOnce(name, bytes);
        },
        async abort() {
          parts = undefined;
        },
      };
    },
    read(name, offsetBytes, target) {
      const bytes = objects.get(name);
      if (bytes === undefined) throw new StoreError('missing', `there is no ${name}`);
      const end = offsetBytes + target.byteLength;
      if (end > bytes.length) throw new StoreError('short', `${name} ends before ${end} bytes`);
      target.set(bytes.subarray(offsetBytes, end));
    },
    length: (name) => objects.get(name)?.length,
    async *list(prefix) {
      for (const name of [...objects.keys()].sort()) {
        if (name.startsWith(prefix)) yield { name, lengthBytes: objects.get(name)?.length ?? 0 };
      }
    },
    async delete(name) {
      objects.delete(name);
    },
    close() {},
  };
}
