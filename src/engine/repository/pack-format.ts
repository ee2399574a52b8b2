/**
 * The bytes of a pack: header, frames, directory, trailer. `docs/repository-format.md` draws them.
 *
 * A pack has a random key of its own, sealed in the header with a key that is derived for exactly this pack. Frame number and purpose
 * make the nonce, so no two messages under one key share one. What is authenticated with each frame binds it to its place: repository,
 * pack, kind, frame number, ids, codec, lengths.
 */
import { createSecretKey, type KeyObject } from 'node:crypto';
import { ByteReader, ByteWriter } from './binary.ts';
import { RepositoryError } from './errors.ts';
import { encodePackName, FORMAT_VERSION, FRAME_SLOTS_MAX, ID_BYTES, objectNames, type PackName } from './format.ts';
import type { DomainKeys } from './repository.ts';
import { deriveKey, KEY_BYTES, NONCE_BYTES, SEAL_OVERHEAD_BYTES, seal, TAG_BYTES, unseal } from './sealing.ts';

export type PackKind = 'data' | 'metadata';

const PACK_MAGIC = 'SPPK';
const FRAME_MAGIC = 'SPFR';
const TRAILER_MAGIC = 'SPTR';
const kindNumbers = { data: 1, metadata: 2 } as const;

export const PACK_HEADER_BYTES = 4 + 1 + 1 + 2 + 20 + KEY_BYTES + SEAL_OVERHEAD_BYTES;
export const FRAME_HEADER_BYTES = 20;
export const TRAILER_BYTES = 20;
export const FRAME_LENGTH_MIN = FRAME_HEADER_BYTES + ID_BYTES + TAG_BYTES;

/** Where a frame lies: everything that reading it takes. */
export interface FrameAddress {
  readonly pack: PackName;
  readonly frame: number;
  readonly offsetBytes: number;
  /** Of the whole frame: header, ciphertext and tag. */
  readonly lengthBytes: number;
}

export interface FrameHeader {
  readonly frame: number;
  readonly codec: number;
  readonly slots: number;
  readonly plainBytes: number;
  readonly cipherBytes: number;
}

/** A pack's identity and its opened key. */
export interface PackSeal {
  readonly key: KeyObject;
  /** What binds every frame to repository and pack; the frame's header follows it. */
  readonly bound: Buffer;
}

export interface PackPlace {
  readonly repositoryId: string;
  readonly keys: DomainKeys;
  readonly name: PackName;
}

export function encodePackHeader(place: PackPlace, kind: PackKind, packKey: Buffer): Buffer {
  const clear = new ByteWriter()
    .bytes(Buffer.from(PACK_MAGIC))
    .u8(FORMAT_VERSION)
    .u8(kindNumbers[kind])
    .u16(0)
    .bytes(encodePackName(place.name))
    .build();
  return Buffer.concat([clear, seal(sealingKeyOf(place), packKey, boundOf(place, kindNumbers[kind]))]);
}

export function packSealOf(place: PackPlace, kind: PackKind, packKey: Buffer): PackSeal {
  return { key: createSecretKey(packKey), bound: boundOf(place, kindNumbers[kind]) };
}

export function openPackHeader(place: PackPlace, header: Buffer): PackSeal {
  const objectName = objectNames.pack(place.name);
  const reader = new ByteReader(header, `the header of ${objectName}`);
  reader.magic(PACK_MAGIC);
  reader.version(FORMAT_VERSION);
  const kind = reader.u8();
  reader.u16();
  const isNamed = reader.bytes(20).equals(encodePackName(place.name));
  const key = isNamed ? unseal(sealingKeyOf(place), reader.bytes(KEY_BYTES + SEAL_OVERHEAD_BYTES), boundOf(place, kind)) : undefined;
  if (key === undefined) throw new RepositoryError('corrupted', `the header of ${objectName} is damaged`, { objectName });
  return { key: createSecretKey(key), bound: boundOf(place, kind) };
}

const sealingKeyOf = ({ keys, name }: PackPlace): Buffer => deriveKey(keys.sealKey, 'pack', name);

const boundOf = ({ repositoryId, keys, name }: PackPlace, kind: number): Buffer =>
  new ByteWriter().text(repositoryId).text(keys.domain).bytes(encodePackName(name)).u8(kind).build();

export function encodeFrameHeader(header: FrameHeader, ids: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + header.slots * ID_BYTES);
  bytes.write(FRAME_MAGIC, 'latin1');
  bytes.writeUInt32LE(header.frame, 4);
  bytes[8] = header.codec;
  bytes[9] = header.slots;
  bytes.writeUInt16LE(0, 10);
  bytes.writeUInt32LE(header.plainBytes, 12);
  bytes.writeUInt32LE(header.cipherBytes, 16);
  bytes.set(ids, FRAME_HEADER_BYTES);
  return bytes;
}

/** Undefined when these are not the bytes of one whole frame. Nothing in it is trusted before the tag was checked. */
export function decodeFrameHeader(bytes: Buffer, plainBytesMax: number): FrameHeader | undefined {
  if (bytes.length < FRAME_LENGTH_MIN || bytes.toString('latin1', 0, 4) !== FRAME_MAGIC) return undefined;
  const header = {
    frame: bytes.readUInt32LE(4),
    codec: bytes.readUInt8(8),
    slots: bytes.readUInt8(9),
    plainBytes: bytes.readUInt32LE(12),
    cipherBytes: bytes.readUInt32LE(16),
  };
  if (header.slots < 1 || header.slots > FRAME_SLOTS_MAX || header.plainBytes > plainBytesMax) return undefined;
  return frameLengthOf(header) === bytes.length ? header : undefined;
}

export function frameLengthOf({ slots, cipherBytes }: { readonly slots: number; readonly cipherBytes: number }): number {
  return FRAME_HEADER_BYTES + slots * ID_BYTES + cipherBytes + TAG_BYTES;
}

const NONCE_PURPOSE_FRAME = 0;
const NONCE_PURPOSE_DIRECTORY = 1;

export function frameNonce(frame: number): Buffer {
  return nonceOf(NONCE_PURPOSE_FRAME, frame);
}

export function directoryNonce(): Buffer {
  return nonceOf(NONCE_PURPOSE_DIRECTORY, 0);
}

function nonceOf(purpose: number, counter: number): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUInt32LE(purpose, 4);
  nonce.writeUInt32LE(counter, 8);
  return nonce;
}

export interface DirectoryEntry {
  readonly frame: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly slots: number;
  /** The ids of the slots, one after the other. */
  readonly ids: Uint8Array;
}

export function encodeDirectory(entries: readonly DirectoryEntry[]): Buffer {
  const writer = new ByteWriter().u32(entries.length);
  for (const entry of entries) writer.u32(entry.offsetBytes).u32(entry.lengthBytes).u8(entry.slots).bytes(entry.ids);
  return writer.build();
}

export function decodeDirectory(plain: Buffer, objectName: string): DirectoryEntry[] {
  const reader = new ByteReader(plain, `the directory of ${objectName}`);
  const count = reader.u32();
  const entries: DirectoryEntry[] = [];
  for (let frame = 0; frame < count; frame += 1) {
    const offsetBytes = reader.u32();
    const lengthBytes = reader.u32();
    const slots = reader.u8();
    entries.push({ frame, offsetBytes, lengthBytes, slots, ids: reader.bytes(slots * ID_BYTES) });
  }
  reader.end();
  return entries;
}

export interface Trailer {
  readonly directoryOffsetBytes: number;
  /** Of the ciphertext and its tag. */
  readonly directoryBytes: number;
  readonly frameCount: number;
}

export function encodeTrailer(trailer: Trailer): Buffer {
  return new ByteWriter()
    .bytes(Buffer.from(TRAILER_MAGIC))
    .u32(trailer.directoryOffsetBytes)
    .u32(trailer.directoryBytes)
    .u32(trailer.frameCount)
    .u32(FORMAT_VERSION)
    .build();
}

export function decodeTrailer(bytes: Buffer, objectName: string): Trailer {
  const reader = new ByteReader(bytes, `the trailer of ${objectName}`);
  reader.magic(TRAILER_MAGIC);
  return { directoryOffsetBytes: reader.u32(), directoryBytes: reader.u32(), frameCount: reader.u32() };
}
