/**
 * A folder as an object store.
 *
 * An object is written to a file in `tmp/`, flushed, given its name with `link(2)`, which never replaces anything, and the name is
 * flushed with its folder. Dying in between leaves a file in `tmp/`, or an object that nobody was told of.
 *
 * `link` may report that the name exists after its own success (NFS sends requests again): then the bytes under the name tell.
 */
import {
  closeSync,
  fsync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  unlinkSync,
  writevSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { crashPoint } from '../../../lib/crash-points.ts';
import { type CreateResult, checkObjectName, type ObjectStore, type ObjectWriter, type StoredObject, StoreError } from '../contract.ts';
import { OpenFiles } from './open-files.ts';
import { readErrorOf, storeErrorOf, systemCodeOf } from './system-errors.ts';
import { newTemporaryName, sweepTemporaryFiles } from './temporary-names.ts';

const flush = promisify(fsync);
const TEMPORARY_FOLDER = 'tmp';
/** How much of an object's beginning and end is compared to recognise one's own: its random token lies there. */
const COMPARED_BYTES = 4096;

/** Opens a folder that holds a store. Sweeps nothing: see `prepareFilesystemStore`. */
export function openFilesystemStore(root: string): ObjectStore {
  const files = new OpenFiles();

  return {
    capabilities: { linearizableCreate: true, freshList: true },

    async put(name, bytes) {
      const writer = createWriter(root, name);
      try {
        await writer.append([bytes]);
        return await writer.commit();
      } catch (error) {
        await writer.abort();
        throw error;
      }
    },

    create(name) {
      return createWriter(root, name);
    },

    read(name, offsetBytes, target) {
      checkObjectName(name);
      const lengthBytes = target.byteLength;
      try {
        const fd = files.get(join(root, name));
        let done = 0;
        while (done < lengthBytes) {
          const count = readSync(fd, target, done, lengthBytes - done, offsetBytes + done);
          if (count === 0) throw new StoreError('short', `${name} ends before ${offsetBytes + lengthBytes} bytes`);
          done += count;
        }
      } catch (error) {
        throw readErrorOf(error, `reading ${name}`);
      }
    },

    length(name) {
      checkObjectName(name);
      return lengthOf(join(root, name));
    },

    list: (prefix) => listObjects(root, prefix),

    async delete(name) {
      checkObjectName(name);
      const path = join(root, name);
      files.forget(path);
      try {
        unlinkSync(path);
      } catch (error) {
        if (systemCodeOf(error) !== 'ENOENT') throw storeErrorOf(error, `deleting ${name}`);
      }
    },

    close: () => files.close(),
  };
}

/**
 * Makes the folder if need be, checks that it can hold a store, and removes the leftovers of dead writers.
 * A file system without hard links is refused: a name could not be created once.
 */
export function prepareFilesystemStore(root: string, nowMs: number): void {
  const folder = join(root, TEMPORARY_FOLDER);
  try {
    makeFolder(folder);
    sweepTemporaryFiles(folder, nowMs);
  } catch (error) {
    throw storeErrorOf(error, `preparing ${root}`);
  }
  const first = join(folder, newTemporaryName());
  const second = join(folder, newTemporaryName());
  try {
    closeSync(openSync(first, 'wx', 0o600));
    linkSync(first, second);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'ENOSYS' || code === 'EMLINK') {
      throw new StoreError('unsupported', `the file system of ${root} has no hard links, a repository needs them`, error);
    }
    throw storeErrorOf(error, `preparing ${root}`);
  } finally {
    for (const path of [first, second]) removeQuietly(path);
  }
}

function createWriter(root: string, name: string): ObjectWriter {
  checkObjectName(name);
  const temporary = join(root, TEMPORARY_FOLDER, newTemporaryName());
  let fd: number | undefined;
  let lengthBytes = 0;
  const close = (): void => {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  };
  try {
    fd = openTemporary(temporary);
  } catch (error) {
    throw storeErrorOf(error, `creating ${name}`);
  }

  return {
    append(parts) {
      if (fd === undefined) throw new StoreError('transport', `${name} was ended already`);
      try {
        lengthBytes += writeAll(fd, parts);
      } catch (error) {
        throw storeErrorOf(error, `writing ${name}`);
      }
    },
    async commit() {
      if (fd === undefined) throw new StoreError('transport', `${name} was ended already`);
      try {
        crashPoint('store.before-flush');
        await flush(fd);
        close();
        crashPoint('store.before-link');
        const result = linkOnce(temporary, join(root, name), lengthBytes);
        crashPoint('store.after-link');
        removeQuietly(temporary);
        await flushFolder(dirname(join(root, name)));
        return result;
      } catch (error) {
        throw storeErrorOf(error, `publishing ${name}`);
      }
    },
    async abort() {
      close();
      removeQuietly(temporary);
    },
  };
}

function openTemporary(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
    makeFolder(dirname(path));
    return openSync(path, 'wx', 0o600);
  }
}

/** Writes all parts; the kernel may take fewer bytes than it was given. */
function writeAll(fd: number, parts: readonly Uint8Array[]): number {
  const total = parts.reduce((sum, part) => sum + part.byteLength, 0);
  let written = writevSync(fd, parts as Uint8Array[]);
  while (written < total) {
    const rest: Uint8Array[] = [];
    let skip = written;
    for (const part of parts) {
      if (skip < part.byteLength) rest.push(part.subarray(skip));
      skip = Math.max(0, skip - part.byteLength);
    }
    const count = writevSync(fd, rest);
    // Only a full disk takes nothing without saying why.
    if (count === 0) throw Object.assign(new Error('no byte was written'), { code: 'ENOSPC' });
    written += count;
  }
  return total;
}

function linkOnce(temporary: string, path: string, lengthBytes: number, isRetry = false): CreateResult {
  try {
    linkSync(temporary, path);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'EEXIST') return isSameObject(temporary, path, lengthBytes) ? 'created' : 'exists';
    // The folder is not there yet. Another thread may make it at the same time, so whether it exists by now says nothing.
    if (code !== 'ENOENT' || isRetry) throw error;
    makeFolder(dirname(path));
    return linkOnce(temporary, path, lengthBytes, true);
  }
  return 'created';
}

function isSameObject(temporary: string, path: string, lengthBytes: number): boolean {
  if (lengthOf(path) !== lengthBytes) return false;
  const tailOffset = Math.max(0, lengthBytes - COMPARED_BYTES);
  return [0, tailOffset].every((offset) => partOf(temporary, offset).equals(partOf(path, offset)));
}

function partOf(path: string, offsetBytes: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const target = Buffer.alloc(COMPARED_BYTES);
    return target.subarray(0, readSync(fd, target, 0, COMPARED_BYTES, offsetBytes));
  } finally {
    closeSync(fd);
  }
}

function lengthOf(path: string): number | undefined {
  try {
    return statSync(path).size;
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw storeErrorOf(error, `looking at ${path}`);
  }
}

async function* listObjects(root: string, prefix: string): AsyncGenerator<StoredObject, void, undefined> {
  const slash = prefix.lastIndexOf('/');
  const folder = slash < 0 ? '' : prefix.slice(0, slash);
  const entries = entriesOf(join(root, folder))
    .filter((entry) => entry.name.startsWith(prefix.slice(slash + 1)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (name === TEMPORARY_FOLDER) continue;
    if (entry.isDirectory()) {
      yield* listObjects(root, `${name}/`);
      continue;
    }
    const lengthBytes = lengthOf(join(root, name));
    if (lengthBytes !== undefined) yield { name, lengthBytes };
  }
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return [];
    throw storeErrorOf(error, `listing ${folder}`);
  }
}

/** Folders that this process knows to be durable: one that is merely there may have been made by a process that died before it could sync. */
const durableFolders = new Set<string>();

/** Makes a folder and those above it, each durable in its parent. */
function makeFolder(path: string): void {
  const exists = folderExists(path);
  const parent = dirname(path);
  if ((exists && durableFolders.has(path)) || parent === path) return;
  makeFolder(parent);
  try {
    if (!exists) mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (systemCodeOf(error) !== 'EEXIST') throw error;
  }
  syncNamesIn(parent);
  durableFolders.add(path);
}

/** A folder that is not ours to read was made durable by its owner. */
function syncNamesIn(folder: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(folder, 'r');
  } catch (error) {
    if (systemCodeOf(error) === 'EACCES') return;
    throw error;
  }
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function folderExists(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

async function flushFolder(path: string): Promise<void> {
  const fd = openSync(path, 'r');
  try {
    await flush(fd);
  } finally {
    closeSync(fd);
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was not made, or somebody swept it: a leftover is harmless in either case.
  }
}
