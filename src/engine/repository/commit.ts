/**
 * A commit: the one object that makes a backup exist. Its name is created once; whoever finds it taken has lost.
 *
 * The clear part is for a collector, which must learn what is needed without being able to read backups: domain, and every pack that
 * the map needs, with its length and the number of references to it. The sealed part is for those who hold the sealing key: map, root,
 * description. A MAC over both, with the domain's MAC key, makes the clear part as trustworthy as the sealed one.
 *
 * A *fence* is an object of the same name space with the same header and no content: it takes the name of a session that shall never
 * commit.
 */
import { randomBytes } from 'node:crypto';
import { ByteReader, ByteWriter } from './binary.ts';
import type { DiskMap } from './disk-map.ts';
import { RepositoryError } from './errors.ts';
import { checkDomain, decodePackName, encodePackName, FORMAT_VERSION, ID_BYTES, objectNames, PACK_NAME_BYTES } from './format.ts';
import type { FrameAddress } from './pack-format.ts';
import type { PackReferences } from './reference-counts.ts';
import type { DomainKeys, Repository } from './repository.ts';
import { deriveKey, isSameMac, MAC_BYTES, macOf, seal, unseal } from './sealing.ts';
import { guarded, readSmallObject } from './store-access.ts';

const COMMIT_MAGIC = 'SPCM';
const FENCE_MAGIC = 'SPFN';
const TOKEN_BYTES = 16;
/** 37 bytes a pack: room for 28 million packs, more than a petabyte. */
export const COMMIT_BYTES_MAX = 1024 * 1024 * 1024;
const kinds = ['data', 'metadata'] as const;

export interface CommitFigures {
  readonly objectCount: number;
  readonly readBytes: number;
  /** Bytes that the session added to the store, without the commit itself. */
  readonly storedBytes: number;
  /** Absent when there was nothing to audit. Here, so that whoever finds the commit of an attempt whose answer was lost learns of it. */
  readonly audit?: AuditFigures;
}

/** The random sample of chunks that a session would have taken on trust. */
export interface AuditFigures {
  /** With it the same chunks are chosen again. */
  readonly seed: number;
  /** How many were read. */
  readonly chunks: number;
  /** Something that was not as it was said to be. Then everything was read, and the backup is whole. */
  readonly finding?: AuditFinding;
}

export interface AuditFinding {
  /**
   * `changes`: a chunk differs from the base, and was not among the changes since. Backups made from that base, or in the same way, may lack
   * changes, too. `allocation`: the disk holds data where it says that it holds none. Backups of it made before may lack data.
   */
  readonly wrong: 'changes' | 'allocation';
  /** Of the first such chunk. */
  readonly offsetBytes: number;
  /** What the session would have been made from; absent for a full backup. */
  readonly baseSession?: string;
}

export interface Commit {
  readonly session: string;
  readonly domain: string;
  readonly parentSession: string | undefined;
  readonly map: DiskMap;
  /** Hex. */
  readonly root: string;
  readonly packs: readonly PackReferences[];
  /** ISO 8601, UTC. */
  readonly committedAt: string;
  readonly figures: CommitFigures;
  /** What the control plane says of the backup: any JSON. */
  readonly description: unknown;
}

/** What can be read without the sealing key. */
export interface CommitEnvelope {
  readonly kind: 'commit' | 'fence';
  readonly session: string;
  readonly domain: string;
}

export type FoundCommit = { readonly kind: 'commit'; readonly commit: Commit; readonly lengthBytes: number } | { readonly kind: 'fence' };

export async function putCommit(repository: Repository, keys: DomainKeys, commit: Commit): Promise<{ readonly lengthBytes: number }> {
  const objectName = objectNames.commit(commit.session);
  const bytes = encodeCommit(repository.id, keys, commit);
  const result = await guarded(objectName, () => repository.store.put(objectName, bytes));
  if (result === 'exists') throw new RepositoryError('conflict', `the session ${commit.session} has ended already`, { objectName });
  return { lengthBytes: bytes.length };
}

/** Takes the name of a session that shall not commit. `lost`: it has committed, or was fenced before. */
export async function putFence(repository: Repository, keys: DomainKeys, session: string): Promise<'fenced' | 'lost'> {
  const objectName = objectNames.commit(session);
  const clear = headerOf(FENCE_MAGIC, session, keys.domain);
  const bytes = Buffer.concat([clear, macOfCommit(repository.id, keys, clear)]);
  const result = await guarded(objectName, () => repository.store.put(objectName, bytes));
  return result === 'created' ? 'fenced' : 'lost';
}

/** Undefined when the session has neither committed nor been fenced. */
export async function readCommit(repository: Repository, keys: DomainKeys, session: string): Promise<FoundCommit | undefined> {
  const bytes = await readSmallObject(repository.store, objectNames.commit(session), COMMIT_BYTES_MAX);
  return bytes === undefined ? undefined : decodeCommit(repository.id, keys, session, bytes);
}

/** The parts of a commit that need no key. Not authenticated: only good for choosing the key. */
export function decodeEnvelope(bytes: Buffer, session: string): CommitEnvelope {
  return readHeader(new ByteReader(bytes, `the commit ${session}`), session);
}

/** Enough of a commit for `decodeEnvelope`. */
export const ENVELOPE_BYTES_MAX = 4 + 1 + 16 + TOKEN_BYTES + 2 + 64;

export function encodeCommit(repositoryId: string, keys: DomainKeys, commit: Commit): Buffer {
  const header = headerOf(COMMIT_MAGIC, commit.session, commit.domain);
  const list = new ByteWriter().u32(commit.packs.length);
  for (const pack of commit.packs) {
    list.bytes(encodePackName(pack.name)).u8(kinds.indexOf(pack.kind)).u64(pack.lengthBytes).u64(pack.live);
  }
  const clear = Buffer.concat([header, list.build()]);
  const sealed = seal(
    sealingKeyOf(keys, commit.session),
    Buffer.from(JSON.stringify(sealedContentOf(commit))),
    boundOf(repositoryId, clear),
  );
  const body = new ByteWriter().bytes(clear).u32(sealed.length).bytes(sealed).build();
  return Buffer.concat([body, macOfCommit(repositoryId, keys, body)]);
}

export function decodeCommit(repositoryId: string, keys: DomainKeys, session: string, bytes: Buffer): FoundCommit {
  const objectName = objectNames.commit(session);
  const damaged = (reason: string): RepositoryError =>
    new RepositoryError('corrupted', `the commit ${objectName} is damaged: ${reason}`, { objectName });
  const reader = new ByteReader(bytes, `the commit ${objectName}`);
  const envelope = readHeader(reader, session);
  if (envelope.domain !== keys.domain) throw new RepositoryError('not-found', `the session ${session} is of another domain`);
  const body = bytes.subarray(0, Math.max(0, bytes.length - MAC_BYTES));
  if (!isSameMac(bytes.subarray(body.length), macOfCommit(repositoryId, keys, body))) throw damaged('its MAC is wrong');
  if (envelope.kind === 'fence') return { kind: 'fence' };
  const packs = readPacks(reader);
  const clear = bytes.subarray(0, reader.position);
  const sealed = reader.bytes(reader.u32());
  const plain = unseal(sealingKeyOf(keys, session), sealed, boundOf(repositoryId, clear));
  if (plain === undefined) throw damaged('its content does not open');
  const content = parseSealedContent(plain);
  if (content === undefined) throw damaged('its content is not what was expected');
  return { kind: 'commit', commit: { session, domain: envelope.domain, packs, ...content }, lengthBytes: bytes.length };
}

function headerOf(magic: string, session: string, domain: string): Buffer {
  return new ByteWriter()
    .bytes(Buffer.from(magic))
    .u8(FORMAT_VERSION)
    .bytes(Buffer.from(session, 'hex'))
    .bytes(randomBytes(TOKEN_BYTES))
    .text(checkDomain(domain))
    .build();
}

function readHeader(reader: ByteReader, session: string): CommitEnvelope {
  const magic = reader.bytes(4).toString('latin1');
  if (magic !== COMMIT_MAGIC && magic !== FENCE_MAGIC) throw reader.damaged('it is neither commit nor fence');
  reader.version(FORMAT_VERSION);
  if (reader.bytes(16).toString('hex') !== session) throw reader.damaged('it is of another session');
  reader.bytes(TOKEN_BYTES);
  return { kind: magic === COMMIT_MAGIC ? 'commit' : 'fence', session, domain: reader.text() };
}

function readPacks(reader: ByteReader): PackReferences[] {
  const count = reader.u32();
  const packs: PackReferences[] = [];
  for (let i = 0; i < count; i += 1) {
    const name = decodePackName(reader.bytes(PACK_NAME_BYTES));
    const kind = kinds[reader.u8()];
    if (kind === undefined) throw reader.damaged('a pack is of no known kind');
    packs.push({ name, kind, lengthBytes: reader.u64(), live: reader.u64() });
  }
  return packs;
}

const sealingKeyOf = (keys: DomainKeys, session: string): Buffer => deriveKey(keys.sealKey, 'commit', session);
const boundOf = (repositoryId: string, clear: Buffer): Buffer => Buffer.concat([new ByteWriter().text(repositoryId).build(), clear]);
const macOfCommit = (repositoryId: string, keys: DomainKeys, body: Buffer): Buffer =>
  macOf(deriveKey(keys.macKey, 'commit', repositoryId), body);

interface SealedContent {
  readonly parentSession: string | null;
  readonly sizeBytes: number;
  readonly root: string;
  readonly topLevel: number;
  readonly top: { readonly id: string; readonly address: FrameAddress } | null;
  readonly committedAt: string;
  readonly figures: CommitFigures;
  readonly description: unknown;
}

function sealedContentOf(commit: Commit): SealedContent {
  const { map } = commit;
  return {
    parentSession: commit.parentSession ?? null,
    sizeBytes: map.sizeBytes,
    root: commit.root,
    topLevel: map.topLevel,
    top: map.top.address === undefined ? null : { id: map.top.id.toString('hex'), address: map.top.address },
    committedAt: commit.committedAt,
    figures: commit.figures,
    description: commit.description,
  };
}

/** The content was authenticated: this guards against our own mistakes and other programs' versions, not against attackers. */
function parseSealedContent(plain: Buffer): Omit<Commit, 'session' | 'domain' | 'packs'> | undefined {
  try {
    const content = JSON.parse(plain.toString('utf8')) as SealedContent;
    const { sizeBytes, topLevel, root, top, committedAt, figures, description } = content;
    const id = top === null ? Buffer.alloc(ID_BYTES) : Buffer.from(top.id, 'hex');
    if (!Number.isSafeInteger(sizeBytes) || !Number.isSafeInteger(topLevel) || id.length !== ID_BYTES || typeof root !== 'string')
      return undefined;
    const map = { sizeBytes, topLevel, top: { id, address: top?.address } };
    return { map, root, committedAt, figures, description, parentSession: content.parentSession ?? undefined };
  } catch {
    return undefined;
  }
}
