/** Repositories, disks and damage for tests of the engine: real files, or the memory store where only the format is asked. */
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiskSource } from '../../src/engine/disk/contract.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { extentsFileOf } from '../../src/engine/disk/raw-layer.ts';
import { createIdHasher } from '../../src/engine/repository/chunk-id.ts';
import { readCommit } from '../../src/engine/repository/commit.ts';
import { childOf, NodeReader, type NodeReference } from '../../src/engine/repository/disk-map.ts';
import { FAN_OUT } from '../../src/engine/repository/format.ts';
import { PackReader } from '../../src/engine/repository/pack-reader.ts';
import { openRepository, type Repository } from '../../src/engine/repository/repository.ts';
import type { ObjectStore } from '../../src/engine/stores/contract.ts';
import { openFilesystemStore } from '../../src/engine/stores/filesystem/filesystem-store.ts';
import type { BackupDescription, BackupOrder, RepositoryAddress } from '../../src/engine/transfer/contract.ts';

export const newSession = (): string => randomBytes(16).toString('hex');

export const uncancelled = { signal: new AbortController().signal };

/** A folder with the address of a repository that does not exist yet. */
export function makePlace(): { readonly folder: string; readonly repository: RepositoryAddress; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'stillpoint-repository-'));
  const repository: RepositoryAddress = {
    id: `repository-${randomBytes(4).toString('hex')}`,
    store: { kind: 'filesystem', path: join(folder, 'store') },
    keyFile: join(folder, 'keys', 'repository.key'),
    cacheDir: join(folder, 'cache'),
  };
  return { folder, repository, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

export function openPlace(address: RepositoryAddress): Promise<Repository> {
  return openRepository({ store: openFilesystemStore(address.store.path), keyFile: address.keyFile });
}

export function describeBackup(backupId: string): BackupDescription {
  return {
    backupId,
    projectId: 'project',
    name: `backup ${backupId}`,
    description: null,
    volume: { id: 'volume', name: 'disk', description: null, sizeGib: 1, bootable: false, metadata: {}, imageMetadata: {} },
    snapshotId: null,
    parentBackupId: null,
    dataTimestamp: '2026-11-01T00:00:00.000Z',
    createdAt: '2026-11-01T00:00:00.000Z',
  };
}

export function orderOf(repository: RepositoryAddress, disk: TestDisk, more: Partial<BackupOrder> = {}): BackupOrder {
  return {
    repository,
    domain: 'project',
    session: newSession(),
    formerSessions: [],
    source: disk.source(),
    describe: describeBackup('one'),
    ...more,
  };
}

/** A raw file that remembers what was written to it since the last `takeChanges`. */
export class TestDisk {
  readonly path: string;
  #sizeBytes: number;
  #allocated = ExtentSet.empty;
  #changes = ExtentSet.empty;

  constructor(path: string, sizeBytes: number) {
    this.path = path;
    this.#sizeBytes = sizeBytes;
    closeSync(openSync(path, 'w'));
    this.resize(sizeBytes);
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get bytes(): Buffer {
    return readFileSync(this.path);
  }

  write(offsetBytes: number, bytes: Uint8Array): void {
    const kept = bytes.subarray(0, Math.max(0, this.#sizeBytes - offsetBytes));
    const fd = openSync(this.path, 'r+');
    writeSync(fd, kept, 0, kept.byteLength, offsetBytes);
    closeSync(fd);
    const range = ExtentSet.of([[offsetBytes, offsetBytes + kept.byteLength]]);
    this.#allocated = this.#allocated.union(range);
    this.#changes = this.#changes.union(range);
  }

  /** Makes zeroes that take no room. */
  discard(offsetBytes: number, lengthBytes: number): void {
    this.write(offsetBytes, Buffer.alloc(lengthBytes));
    this.#allocated = this.#allocated.subtract(ExtentSet.of([[offsetBytes, offsetBytes + lengthBytes]]));
  }

  /** From now on it says of a range that it is empty, whatever it holds. */
  denyAllocation(offsetBytes: number, lengthBytes: number): void {
    this.#allocated = this.#allocated.subtract(ExtentSet.of([[offsetBytes, offsetBytes + lengthBytes]]));
  }

  resize(sizeBytes: number): void {
    const fd = openSync(this.path, 'r+');
    ftruncateSync(fd, sizeBytes);
    closeSync(fd);
    this.#sizeBytes = sizeBytes;
    this.#allocated = this.#allocated.clamp(sizeBytes);
    this.#changes = this.#changes.clamp(sizeBytes);
  }

  /** What changed since the last call, as an order wants it. */
  takeChanges(): string {
    const encoded = this.#changes.encode().toString('base64');
    this.#changes = ExtentSet.empty;
    return encoded;
  }

  source(): DiskSource {
    writeFileSync(extentsFileOf(this.path), this.#allocated.encode());
    return { layers: [{ path: this.path, format: 'raw', sizeBytes: this.#sizeBytes }], sizeBytes: this.#sizeBytes };
  }
}

/** Text that compresses, different for each seed. */
export function textBytes(lengthBytes: number, seed: number): Buffer {
  const line = `${seed} the quick brown fox ${seed * 7919} jumps over the lazy dog\n`;
  return Buffer.alloc(lengthBytes, line);
}

/** Changes one byte of a file. */
export function flipByte(path: string, offsetBytes: number): void {
  const bytes = readFileSync(path);
  const at = offsetBytes < 0 ? bytes.length + offsetBytes : offsetBytes;
  bytes[at] = (bytes[at] as number) ^ 0x40;
  writeFileSync(path, bytes);
}

export function cutFile(path: string, lengthBytes: number): void {
  const fd = openSync(path, 'r+');
  ftruncateSync(fd, lengthBytes < 0 ? statSync(path).size + lengthBytes : lengthBytes);
  closeSync(fd);
}

export async function objectsOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(prefix)) names.push(name);
  return names;
}

/** Counts the references of a commit's map by walking all of it: the truth that the commit's own list must equal. */
export async function walkReferences(repository: Repository, domain: string, session: string): Promise<Map<string, number>> {
  const keys = await repository.createDomain(domain);
  const found = await readCommit(repository, keys, session);
  if (found?.kind !== 'commit') throw new Error(`session ${session} has not committed`);
  const nodes = new NodeReader(new PackReader(repository.store, repository.id, keys), createIdHasher(keys.idKey));
  const counts = new Map<string, number>();
  const add = (pack: string): void => void counts.set(pack, (counts.get(pack) ?? 0) + 1);
  const walk = async (reference: NodeReference, level: number): Promise<void> => {
    if (reference.address === undefined) return;
    add(reference.address.pack);
    const node = await nodes.read(reference, level);
    for (let index = 0; index < FAN_OUT; index += 1) {
      const pack = node.packOf(index);
      if (level === 0 && pack !== undefined) add(pack);
      if (level > 0) await walk(childOf(node, index), level - 1);
    }
  };
  await walk(found.commit.map.top, found.commit.map.topLevel);
  return counts;
}

export async function listedReferences(repository: Repository, domain: string, session: string): Promise<Map<string, number>> {
  const found = await readCommit(repository, await repository.createDomain(domain), session);
  if (found?.kind !== 'commit') throw new Error(`session ${session} has not committed`);
  return new Map(found.commit.packs.map((pack) => [pack.name, pack.live]));
}
