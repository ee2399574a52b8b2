/**
 * The first half of an NBD connection: client and server agree on the export, on its size, and on how answers look.
 *
 * A client that keeps to the protocol but asks for what is not there is told so, and may go on asking. Bytes that are not the protocol end
 * the connection, and so does an option that is longer than any honest one: nothing is allocated by what a client claims.
 */
import type { BlockDevice } from './block-device.ts';
import {
  allocationContext,
  encodeNumbers,
  encodeOffset,
  encodeOptionReply,
  exportNamePaddingBytes,
  handshakeFlag,
  handshakeMagic,
  info,
  option,
  optionHeaderBytes,
  optionMagic,
  optionReply,
  transmissionFlag,
} from './nbd-protocol.ts';
import type { NbdStream } from './nbd-stream.ts';

/** The client does not speak the protocol. The connection has no future. */
export class NbdProtocolError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NbdProtocolError';
  }
}

/** What both sides have agreed on. */
export interface NbdAgreement {
  readonly structured: boolean;
  /** The client may ask which ranges are allocated. */
  readonly allocation: boolean;
}

export interface NbdExport {
  /** Clients ask for this name, or for none. */
  readonly name: string;
  readonly device: BlockDevice;
}

/** The largest read or write, as clients are told. */
export const requestBytesMax = 32 * 1024 * 1024;
const preferredRequestBytes = 64 * 1024;
/** Two names of the greatest length that the protocol has, and some. */
const optionBytesMax = 16 * 1024;

interface Handshake {
  readonly stream: NbdStream;
  readonly served: NbdExport;
  structured: boolean;
  allocation: boolean;
}

interface Option {
  readonly id: number;
  readonly data: Buffer;
}

/** Undefined: the client has taken its leave. */
export async function shakeHands(stream: NbdStream, served: NbdExport): Promise<NbdAgreement | undefined> {
  const greeting = Buffer.alloc(2);
  greeting.writeUInt16BE(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes);
  await stream.write(handshakeMagic, greeting);
  const flags = (await stream.read(4)).readUInt32BE();
  if ((flags & ~(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes)) !== 0) throw new NbdProtocolError(`unknown client flags ${flags}`);

  const state: Handshake = { stream, served, structured: false, allocation: false };
  for (;;) {
    const asked = await readOption(stream);
    if (asked.id === option.exportName) {
      await enterByName(state, asked, (flags & handshakeFlag.noZeroes) === 0);
      return state;
    }
    // Clients from before the options had answers know no other.
    if ((flags & handshakeFlag.fixedNewstyle) === 0) throw new NbdProtocolError(`an old client sent option ${asked.id}`);
    if (asked.id === option.abort) {
      await stream.write(encodeOptionReply(asked.id, optionReply.ack));
      return undefined;
    }
    await answer(state, asked);
    if (asked.id === option.go && hasExport(state, asked.data)) return state;
  }
}

async function readOption(stream: NbdStream): Promise<Option> {
  const header = await stream.read(optionHeaderBytes);
  if (!header.subarray(0, 8).equals(optionMagic)) throw new NbdProtocolError('an option does not begin like one');
  const lengthBytes = header.readUInt32BE(12);
  if (lengthBytes > optionBytesMax) throw new NbdProtocolError(`an option of ${lengthBytes} bytes`);
  return { id: header.readUInt32BE(8), data: await stream.read(lengthBytes) };
}

/** The oldest way to begin: there is no way to say no but to hang up. */
async function enterByName({ stream, served }: Handshake, { data }: Option, padded: boolean): Promise<void> {
  if (!isName(served, data)) throw new NbdProtocolError('an export of that name is not served');
  await stream.write(describeExport(served.device), Buffer.alloc(padded ? exportNamePaddingBytes : 0));
}

async function answer(state: Handshake, asked: Option): Promise<void> {
  const { stream } = state;
  const say = (reply: number, payload?: Buffer): Promise<void> => stream.write(encodeOptionReply(asked.id, reply, payload));
  switch (asked.id) {
    case option.list:
      if (asked.data.length > 0) return await say(optionReply.invalid);
      await say(optionReply.server, withLength(state.served.name));
      return await say(optionReply.ack);
    case option.info:
    case option.go:
      if (parseInfoRequest(asked.data) === undefined) return await say(optionReply.invalid);
      if (!hasExport(state, asked.data)) return await say(optionReply.unknown);
      await say(optionReply.info, Buffer.concat([infoHead(info.export), describeExport(state.served.device)]));
      await say(optionReply.info, Buffer.concat([infoHead(info.blockSize), encodeNumbers(1, preferredRequestBytes, requestBytesMax)]));
      return await say(optionReply.ack);
    case option.structuredReply:
      if (asked.data.length > 0) return await say(optionReply.invalid);
      state.structured = true;
      return await say(optionReply.ack);
    case option.listMetaContext:
    case option.setMetaContext:
      return await answerContexts(state, asked, say);
    default:
      return await say(optionReply.unsupported);
  }
}

async function answerContexts(
  state: Handshake,
  { id, data }: Option,
  say: (reply: number, payload?: Buffer) => Promise<void>,
): Promise<void> {
  const request = parseContextRequest(data);
  const isSetting = id === option.setMetaContext;
  if (isSetting) state.allocation = false;
  if (request === undefined || (isSetting && !state.structured)) return await say(optionReply.invalid);
  if (!isName(state.served, request.name)) return await say(optionReply.unknown);
  const { queries } = request;
  // Listing takes patterns, and none at all for everything.
  const wanted = queries.includes(allocationContext.name) || (!isSetting && (queries.length === 0 || queries.includes('base:')));
  if (wanted) {
    if (isSetting) state.allocation = true;
    await say(
      optionReply.metaContext,
      Buffer.concat([encodeNumbers(isSetting ? allocationContext.id : 0), Buffer.from(allocationContext.name)]),
    );
  }
  await say(optionReply.ack);
}

const isName = (served: NbdExport, name: Buffer): boolean => name.length === 0 || name.equals(Buffer.from(served.name));

function hasExport({ served }: Handshake, data: Buffer): boolean {
  const name = parseInfoRequest(data);
  return name !== undefined && isName(served, name);
}

/** Name, and a list of wishes that need no heeding. Undefined when the lengths do not agree. */
function parseInfoRequest(data: Buffer): Buffer | undefined {
  const name = readCounted(data, 0);
  if (name === undefined || data.length < name.end + 2) return undefined;
  return data.length === name.end + 2 + 2 * data.readUInt16BE(name.end) ? name.bytes : undefined;
}

function parseContextRequest(data: Buffer): { name: Buffer; queries: string[] } | undefined {
  const name = readCounted(data, 0);
  if (name === undefined || data.length < name.end + 4) return undefined;
  const queries: string[] = [];
  let position = name.end + 4;
  for (let left = data.readUInt32BE(name.end); left > 0; left -= 1) {
    const query = readCounted(data, position);
    if (query === undefined) return undefined;
    queries.push(query.bytes.toString('utf8'));
    position = query.end;
  }
  return position === data.length ? { name: name.bytes, queries } : undefined;
}

/** A length of 4 bytes, then as many bytes; undefined when they are not all there. */
function readCounted(data: Buffer, at: number): { bytes: Buffer; end: number } | undefined {
  if (data.length < at + 4) return undefined;
  const end = at + 4 + data.readUInt32BE(at);
  return end > data.length ? undefined : { bytes: data.subarray(at + 4, end), end };
}

const withLength = (text: string): Buffer => Buffer.concat([encodeNumbers(Buffer.byteLength(text)), Buffer.from(text)]);

function infoHead(type: number): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return head;
}

/** Size and abilities. */
function describeExport(device: BlockDevice): Buffer {
  const { hasFlags, readOnly, flush, fua, trim, writeZeroes, multiConnection } = transmissionFlag;
  const flags = Buffer.alloc(2);
  flags.writeUInt16BE(hasFlags | flush | multiConnection | (device.readOnly ? readOnly : fua | trim | writeZeroes));
  return Buffer.concat([encodeOffset(device.sizeBytes), flags]);
}
