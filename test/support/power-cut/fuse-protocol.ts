/**
 * The messages between the kernel and a file system in user space, as far as our tests' file system needs them.
 * Layouts and numbers: Linux, include/uapi/linux/fuse.h, protocol 7.31.
 */

export const opcodes = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  create: 35,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
  rename2: 45,
  lseek: 46,
  syncfs: 50,
} as const;

/** Linux error numbers. */
export const errno = {
  noEntry: 2,
  io: 5,
  exists: 17,
  noDevice: 6,
  isFolder: 21,
  invalid: 22,
  notEmpty: 39,
  notSupported: 95,
  noSystemCall: 38,
};

export const inHeaderBytes = 40;
const outHeaderBytes = 16;
export const writeBytesMax = 1024 * 1024;
/** What a request may take: the longest write with its headers. */
export const requestBytesMax = writeBytesMax + 64 * 1024;

export interface Request {
  readonly opcode: number;
  readonly unique: bigint;
  readonly node: number;
  readonly userId: number;
  readonly groupId: number;
  /** Behind the header. */
  readonly body: Buffer;
}

export function parseRequest(bytes: Buffer): Request {
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    node: Number(bytes.readBigUInt64LE(16)),
    userId: bytes.readUInt32LE(24),
    groupId: bytes.readUInt32LE(28),
    body: bytes.subarray(inHeaderBytes),
  };
}

/** `error`: a Linux error number, 0 for success. */
export function encodeReply(unique: bigint, error: number, body: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(outHeaderBytes);
  header.writeUInt32LE(outHeaderBytes + body.length, 0);
  header.writeInt32LE(-error, 4);
  header.writeBigUInt64LE(unique, 8);
  return Buffer.concat([header, body]);
}

const protocol = { major: 7, minor: 31 } as const;
const flags = { asyncRead: 1, bigWrites: 1 << 5, maxPages: 1 << 22 };

export function encodeInit(): Buffer {
  const body = Buffer.alloc(64);
  body.writeUInt32LE(protocol.major, 0);
  body.writeUInt32LE(protocol.minor, 4);
  body.writeUInt32LE(writeBytesMax, 8);
  body.writeUInt32LE(flags.asyncRead | flags.bigWrites | flags.maxPages, 12);
  body.writeUInt16LE(64, 16);
  body.writeUInt16LE(48, 18);
  body.writeUInt32LE(writeBytesMax, 20);
  body.writeUInt32LE(1, 24);
  body.writeUInt16LE(writeBytesMax / 4096, 28);
  return body;
}

export interface Attributes {
  readonly node: number;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly mode: number;
  readonly linkCount: number;
  readonly userId: number;
  readonly groupId: number;
  readonly changedAtMs: number;
}

function encodeAttributes(attributes: Attributes): Buffer {
  const body = Buffer.alloc(88);
  body.writeBigUInt64LE(BigInt(attributes.node), 0);
  body.writeBigUInt64LE(BigInt(attributes.sizeBytes), 8);
  body.writeBigUInt64LE(BigInt(Math.ceil(attributes.allocatedBytes / 512)), 16);
  for (const at of [24, 32, 40]) body.writeBigUInt64LE(BigInt(Math.floor(attributes.changedAtMs / 1000)), at);
  for (const at of [48, 52, 56]) body.writeUInt32LE((attributes.changedAtMs % 1000) * 1e6, at);
  body.writeUInt32LE(attributes.mode, 60);
  body.writeUInt32LE(attributes.linkCount, 64);
  body.writeUInt32LE(attributes.userId, 68);
  body.writeUInt32LE(attributes.groupId, 72);
  body.writeUInt32LE(4096, 80);
  return body;
}

export function encodeEntry(attributes: Attributes): Buffer {
  const head = Buffer.alloc(40);
  head.writeBigUInt64LE(BigInt(attributes.node), 0);
  return Buffer.concat([head, encodeAttributes(attributes)]);
}

export const encodeAttributesReply = (attributes: Attributes): Buffer => Buffer.concat([Buffer.alloc(16), encodeAttributes(attributes)]);

export const encodeOpened = (): Buffer => Buffer.alloc(16);

export function encodeWritten(byteCount: number): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt32LE(byteCount, 0);
  return body;
}

export function encodeOffset(offsetBytes: number): Buffer {
  const body = Buffer.alloc(8);
  body.writeBigUInt64LE(BigInt(offsetBytes), 0);
  return body;
}

export function encodeSpace(blocks: { readonly total: number; readonly free: number }): Buffer {
  const body = Buffer.alloc(80);
  body.writeBigUInt64LE(BigInt(blocks.total), 0);
  for (const at of [8, 16]) body.writeBigUInt64LE(BigInt(blocks.free), at);
  for (const at of [24, 32]) body.writeBigUInt64LE(1_000_000n, at);
  body.writeUInt32LE(4096, 40);
  body.writeUInt32LE(255, 44);
  body.writeUInt32LE(4096, 48);
  return body;
}

export interface FolderEntry {
  readonly name: string;
  readonly node: number;
  readonly isFolder: boolean;
}

/** As many entries from `start` as fit. */
export function encodeEntries(entries: readonly FolderEntry[], start: number, byteCount: number): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  for (let i = start; i < entries.length; i += 1) {
    const { name, node, isFolder } = entries[i] as FolderEntry;
    const bytes = Buffer.from(name, 'utf8');
    const entry = Buffer.alloc(Math.ceil((24 + bytes.length) / 8) * 8);
    entry.writeBigUInt64LE(BigInt(node), 0);
    entry.writeBigUInt64LE(BigInt(i + 1), 8);
    entry.writeUInt32LE(bytes.length, 16);
    entry.writeUInt32LE(isFolder ? 4 : 8, 20);
    bytes.copy(entry, 24);
    if (length + entry.length > byteCount) break;
    parts.push(entry);
    length += entry.length;
  }
  return Buffer.concat(parts);
}

/** The texts at the end of a request, each with a zero behind it. */
export const namesIn = (bytes: Buffer): string[] => bytes.toString('utf8').split('\0').slice(0, -1);

export const wide = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));
