/**
 * The index of one domain on this machine: which chunks are stored already, and where.
 *
 * Nothing here decides what is live. A session's chunks are offered only while its commit is there and its tombstone is not; that is asked
 * of the store at the start of every backup. What is missing is learnt again from the directories of packs before a full backup; an
 * incremental uses what is there, so that its cost does not depend on the size of the repository.
 *
 * A pack in which damage was found is not offered any more either: the next full backup stores its chunks once more, and is whole.
 *
 * The folder holds segments (`<random>.seg`), the lists of sessions that were dealt with (`sessions`) and of packs in which damage was found
 * (`distrusted`), and for each running session the segments of the packs it has published so far (`pending-<session>/`). Those become a segment when the session has committed.
 */
import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createIdHasher } from '../chunk-id.ts';
import { decodeEnvelope, ENVELOPE_BYTES_MAX, readCommit } from '../commit.ts';
import { isRepositoryError } from '../errors.ts';
import { checkDomain, checkSession, objectNames } from '../format.ts';
import { PackReader } from '../pack-reader.ts';
import type { DomainKeys, Repository } from '../repository.ts';
import { readObject } from '../store-access.ts';
import { isTombstoned } from '../tombstone.ts';
import { loadSegment, packOf, type SegmentHandle, sessionOf } from './segment.ts';
import { mergeSegments, writePackSegment } from './segment-merge.ts';

/** More segments than this make lookups slow: they are merged until a few are left. */
const SEGMENTS_MAX = 8;
const SEGMENTS_AFTER_MERGE = 3;
const SESSIONS_FILE = 'sessions';
const DISTRUSTED_FILE = 'distrusted';

export class DomainIndex {
  readonly #repository: Repository;
  readonly #keys: DomainKeys;
  readonly #folder: string;
  readonly #segments = new Map<string, SegmentHandle>();
  readonly #sessions = new Set<string>();
  readonly #running = new Set<string>();
  readonly #distrusted = new Set<string>();

  private constructor(repository: Repository, keys: DomainKeys, folder: string) {
    this.#repository = repository;
    this.#keys = keys;
    this.#folder = folder;
  }

  static open(repository: Repository, keys: DomainKeys, cacheDir: string): DomainIndex {
    const folder = join(cacheDir, repository.id, checkDomain(keys.domain));
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const index = new DomainIndex(repository, keys, folder);
    index.#load();
    return index;
  }

  /** The memory that the segments' tables take. */
  get tableBytes(): number {
    let bytes = 0;
    for (const { packs, fence, filter } of this.#segments.values()) bytes += packs.byteLength + fence.byteLength + filter.byteLength;
    return bytes;
  }

  /** The segments for a new session's lookups, with the packs of dead sessions, and those that were found damaged, retired. */
  async segments(): Promise<SegmentHandle[]> {
    const dead = new Map<string, boolean>();
    for (const handle of this.#segments.values()) {
      const retired = new Uint8Array(handle.retired);
      for (let i = 0; i < retired.length; i += 1) {
        if (retired[i] !== 0) continue;
        const { name } = packOf(handle, i);
        if (this.#distrusted.has(name)) {
          retired[i] = 1;
          continue;
        }
        const session = sessionOf(name);
        const known = dead.get(session) ?? (await isTombstoned(this.#repository, session));
        dead.set(session, known);
        if (known) retired[i] = 1;
      }
    }
    return [...this.#segments.values()];
  }

  /** Learns the sessions that committed without this machine's index: another machine's, or those of a cache that was lost. */
  async catchUp(signal: AbortSignal): Promise<void> {
    for await (const { name, lengthBytes } of this.#repository.store.list(objectNames.commits)) {
      const session = name.slice(name.lastIndexOf('/') + 1);
      if (this.#sessions.has(session)) continue;
      signal.throwIfAborted();
      await this.#learn(session, Math.min(lengthBytes, ENVELOPE_BYTES_MAX));
    }
  }

  /** Damage was found in this pack: nothing new is to refer to it. */
  distrust(packName: string): void {
    if (this.#distrusted.has(packName)) return;
    this.#distrusted.add(packName);
    appendFileSync(join(this.#folder, DISTRUSTED_FILE), `${packName}\n`);
  }

  /** The folder for the segments of the packs of a session that begins. */
  beginSession(session: string): string {
    this.#running.add(checkSession(session));
    const folder = this.#pendingFolder(session);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { mode: 0o700 });
    return folder;
  }

  /** Ends a session: with `committed`, what it stored is offered to later ones. */
  async endSession(session: string, committed: boolean): Promise<void> {
    const folder = this.#pendingFolder(session);
    try {
      if (committed) await this.#adopt(session, this.#loadFolder(folder));
    } finally {
      this.#running.delete(session);
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Merges small segments when there are many. Not while a session uses them: threads open their files by name. */
  async compact(): Promise<void> {
    if (this.#segments.size <= SEGMENTS_MAX || this.#running.size > 0) return;
    const bySize = [...this.#segments.values()].sort((a, b) => a.recordCount - b.recordCount);
    const small = bySize.slice(0, bySize.length - SEGMENTS_AFTER_MERGE + 1);
    await this.#merge(small);
    for (const { path } of small) this.#remove(path);
  }

  #load(): void {
    for (const session of readLines(join(this.#folder, SESSIONS_FILE))) this.#sessions.add(session);
    for (const packName of readLines(join(this.#folder, DISTRUSTED_FILE))) this.#distrusted.add(packName);
    let isWhole = true;
    for (const entry of readdirSync(this.#folder)) {
      const path = join(this.#folder, entry);
      if (entry === SESSIONS_FILE || entry === DISTRUSTED_FILE) continue;
      const handle = entry.endsWith('.seg') ? loadSegment(path, createIdHasher(this.#keys.idKey)) : undefined;
      if (handle !== undefined) this.#segments.set(path, handle);
      else rmSync(path, { recursive: true, force: true });
      if (handle === undefined && entry.endsWith('.seg')) isWhole = false;
    }
    // Which sessions a damaged segment was made of is not known: all are learnt again, before the next full backup.
    if (isWhole && (this.#segments.size > 0 || this.#sessions.size === 0)) return;
    this.#sessions.clear();
    rmSync(join(this.#folder, SESSIONS_FILE), { force: true });
    for (const path of [...this.#segments.keys()]) this.#remove(path);
  }

  async #learn(session: string, envelopeBytes: number): Promise<void> {
    try {
      const name = objectNames.commit(session);
      const envelope = decodeEnvelope(await readObject(this.#repository.store, name, 0, envelopeBytes), session);
      if (envelope.kind === 'commit' && envelope.domain === this.#keys.domain && !(await isTombstoned(this.#repository, session))) {
        await this.#adopt(session, await this.#readPacks(session));
        return;
      }
    } catch (error) {
      // A damaged commit, or a damaged directory of a pack: there is nothing in it that a new backup should refer to.
      if (!isRepositoryError(error, 'corrupted') && !isRepositoryError(error, 'missing')) throw error;
    }
    this.#note(session);
  }

  async #readPacks(session: string): Promise<SegmentHandle[]> {
    const found = await readCommit(this.#repository, this.#keys, session);
    if (found?.kind !== 'commit') return [];
    const reader = new PackReader(this.#repository.store, this.#repository.id, this.#keys);
    const folder = join(this.#folder, `learnt-${session}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const pack of found.commit.packs) {
      if (pack.kind !== 'data' || sessionOf(pack.name) !== session) continue;
      const { entries, lengthBytes } = await reader.readDirectory(pack.name);
      if (lengthBytes !== pack.lengthBytes) continue;
      writePackSegment(join(folder, `${pack.name}.seg`), this.#keys.idKey, pack, entries);
    }
    return this.#loadFolder(folder);
  }

  async #adopt(session: string, parts: readonly SegmentHandle[]): Promise<void> {
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) {
      const path = this.#newPath();
      renameSync(only.path, path);
      this.#segments.set(path, { ...only, path });
    } else if (parts.length > 0) {
      await this.#merge(parts);
    }
    rmSync(join(this.#folder, `learnt-${session}`), { recursive: true, force: true });
    this.#note(session);
  }

  async #merge(parts: readonly SegmentHandle[]): Promise<void> {
    const path = this.#newPath();
    // Rounds of a large merge lie beside the result, under names that the next start of the index removes.
    const load = (part: string): SegmentHandle | undefined => loadSegment(part, createIdHasher(this.#keys.idKey));
    await mergeSegments(parts, path, this.#keys.idKey, load);
    const merged = load(path);
    if (merged !== undefined) this.#segments.set(path, merged);
    for (const entry of readdirSync(this.#folder)) {
      if (entry.includes('.seg.round')) rmSync(join(this.#folder, entry), { force: true });
    }
  }

  #loadFolder(folder: string): SegmentHandle[] {
    const parts: SegmentHandle[] = [];
    for (const entry of readdirSync(folder)) {
      const handle = loadSegment(join(folder, entry), createIdHasher(this.#keys.idKey));
      if (handle !== undefined) parts.push(handle);
    }
    return parts;
  }

  #remove(path: string): void {
    this.#segments.delete(path);
    rmSync(path, { force: true });
  }

  #note(session: string): void {
    this.#sessions.add(session);
    appendFileSync(join(this.#folder, SESSIONS_FILE), `${session}\n`);
  }

  #pendingFolder(session: string): string {
    return join(this.#folder, `pending-${checkSession(session)}`);
  }

  #newPath(): string {
    return join(this.#folder, `${randomBytes(8).toString('hex')}.seg`);
  }
}

function readLines(path: string): string[] {
  try {
    const text = readFileSync(path, 'utf8');
    // The last line may be torn.
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '');
  } catch {
    return [];
  }
}
