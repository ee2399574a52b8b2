/**
 * The numbers of the NBD protocol, by the names of its specification (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md),
 * and the messages that a server sends. Everything is big-endian.
 */

export const handshakeMagic = Buffer.from('NBDMAGICIHAVEOPT', 'latin1');
export const optionMagic: Buffer = handshakeMagic.subarray(8);
const optionReplyMagic = 0x3e889045565a9n;
export const requestMagic = 0x25609513;
const simpleReplyMagic = 0x67446698;
const chunkMagic = 0x668e33ef;

/** Both of the server's and of the client's. */
export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const optionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: 2 ** 31 + 1,
  invalid: 2 ** 31 + 3,
  unknown: 2 ** 31 + 6,
} as const;

export const info = { export: 0, blockSize: 3 } as const;

export const transmissionFlag = {
  hasFlags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  trim: 32,
  writeZeroes: 64,
  multiConnection: 256,
} as const;

export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6, blockStatus: 7 } as const;

export const commandFlag = { fua: 1, noHole: 2, requestOne: 8 } as const;

/** What clients are told; the numbers of Linux. */
export const nbdError = { permission: 1, io: 5, invalid: 22, noSpace: 28, overflow: 75 } as const;

export const allocationContext = { id: 1, name: 'base:allocation', hole: 1, zero: 2 } as const;

const chunkFlagDone = 1;
export const chunk = { none: 0, offsetData: 1, blockStatus: 5, error: 2 ** 15 + 1 } as const;

export const requestHeaderBytes = 28;
export const optionHeaderBytes = 16;
/** What servers of one export kind fill up the answer to EXPORT_NAME with, unless the client asked them not to. */
export const exportNamePaddingBytes = 124;

export interface NbdRequest {
  readonly flags: number;
  readonly command: number;
  /** Chosen by the client, and sent back as it is. */
  readonly cookie: bigint;
  /** May be more than any disk has. */
  readonly offsetBytes: bigint;
  readonly lengthBytes: number;
}

/** Undefined: these bytes are no request. */
export function parseRequest(header: Buffer): NbdRequest | undefined {
  if (header.readUInt32BE(0) !== requestMagic) return undefined;
  return {
    flags: header.readUInt16BE(4),
    command: header.readUInt16BE(6),
    cookie: header.readBigUInt64BE(8),
    offsetBytes: header.readBigUInt64BE(16),
    lengthBytes: header.readUInt32BE(24),
  };
}

export function encodeOptionReply(toOption: number, reply: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(20);
  header.writeBigUInt64BE(optionReplyMagic, 0);
  header.writeUInt32BE(toOption, 8);
  header.writeUInt32BE(reply, 12);
  header.writeUInt32BE(payload.length, 16);
  return Buffer.concat([header, payload]);
}

/** The head of an answer without structure. The bytes that were read follow it, when `error` is 0. */
export function encodeSimpleReply(cookie: bigint, error: number): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(simpleReplyMagic, 0);
  header.writeUInt32BE(error, 4);
  header.writeBigUInt64BE(cookie, 8);
  return header;
}

/** The head of the one chunk that an answer with structure has here. `payloadBytes` follow it. */
export function encodeChunkHeader(cookie: bigint, type: number, payloadBytes: number): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt32BE(chunkMagic, 0);
  header.writeUInt16BE(chunkFlagDone, 4);
  header.writeUInt16BE(type, 6);
  header.writeBigUInt64BE(cookie, 8);
  header.writeUInt32BE(payloadBytes, 16);
  return header;
}

/** Whole numbers of 4 bytes each. */
export function encodeNumbers(...numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(numbers.length * 4);
  numbers.forEach((number, index) => {
    bytes.writeUInt32BE(number, index * 4);
  });
  return bytes;
}

export function encodeOffset(offsetBytes: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(offsetBytes));
  return bytes;
}
