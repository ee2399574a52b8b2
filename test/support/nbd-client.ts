/**
 * A client of network block devices over a unix socket, as a machine would be one: many requests in flight, each answered on its own. For tests and
 * benches that have to stay connected, count what was acknowledged, and time single writes.
 * The protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle; structured replies where the server has them, so
 * that holes are not transferred). Requests may begin and end anywhere, because the client never asks for the sizes of blocks.
 */
import { connect, type Socket } from 'node:net';

export interface NbdClient {
  readonly sizeBytes: number;
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  /** The same, but undefined where the server says that nothing is there but zeroes. */
  readUnlessHole(offsetBytes: number, lengthBytes: number): Promise<Buffer | undefined>;
  /** `durable`: the bytes are durable when the answer comes. */
  write(offsetBytes: number, bytes: Uint8Array, options?: { readonly durable: boolean }): Promise<void>;
  /** `keepSpace`: no hole may be made. */
  zero(offsetBytes: number, lengthBytes: number, options?: { readonly keepSpace: boolean }): Promise<void>;
  trim(offsetBytes: number, lengthBytes: number): Promise<void>;
  /** What was acknowledged before is durable afterwards. */
  flush(): Promise<void>;
  close(): Promise<void>;
  /** Resolves when the connection is over, whoever ended it. */
  readonly ended: Promise<void>;
}

/** The server refused a request (`errno` is a Linux error number), or went away (`errno` 0). */
export class NbdError extends Error {
  readonly errno: number;

  constructor(message: string, errno: number) {
    super(message);
    this.name = 'NbdError';
    this.errno = errno;
  }
}

const optionMagic = 0x49484156454f5054n;
const optionReplyMagic = 0x0003e889045565a9n;
const requestMagic = 0x25609513;
const replyMagic = 0x67446698;
const chunkMagic = 0x668e33ef;
const commands = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, zero: 6 } as const;
const requestFlags = { durable: 1, keepSpace: 2 } as const;
const optionGo = 7;
const optionStructured = 8;
const replies = { acknowledged: 1, info: 3 } as const;
const refusals = 2 ** 31;
/** The pieces of a structured reply to a read. */
const chunks = { last: 1, data: 1, errors: 2 ** 15 } as const;

/** The path in `nbd+unix:///disk?socket=/…`, as connections are given. */
export const socketPathOf = (uri: string): string => decodeURI(new URL(uri.replace('nbd+unix', 'http')).searchParams.get('socket') ?? '');

export async function connectNbd(socketPath: string, exportName = 'disk'): Promise<NbdClient> {
  const stream = streamOf(connect(socketPath));
  const sizeBytes = await negotiate(stream, exportName);
  return clientOf(stream, sizeBytes);
}

interface Stream {
  readonly socket: Socket;
  /** The next bytes; rejects when the connection ends before. */
  take(count: number): Promise<Buffer>;
  readonly ended: Promise<void>;
}

function streamOf(socket: Socket): Stream {
  let parts: Buffer[] = [];
  let length = 0;
  let wanted: { count: number; resolve(bytes: Buffer): void; reject(error: Error): void } | undefined;
  let over: Error | undefined;
  const serve = (): void => {
    if (wanted === undefined || length < wanted.count) return;
    const all = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    const { count, resolve } = wanted;
    wanted = undefined;
    parts = [all.subarray(count)];
    length -= count;
    resolve(all.subarray(0, count));
  };
  socket.on('data', (part: Buffer) => {
    parts.push(part);
    length += part.length;
    serve();
  });
  const ended = new Promise<void>((done) => {
    const end = (why: string): void => {
      over ??= new NbdError(`the NBD connection is over: ${why}`, 0);
      wanted?.reject(over);
      wanted = undefined;
      done();
    };
    socket.on('error', (error) => end(error.message));
    socket.on('close', () => end('closed'));
  });
  return {
    socket,
    ended,
    take(count) {
      return new Promise((resolve, reject) => {
        wanted = { count, resolve, reject };
        serve();
        if (wanted !== undefined && over !== undefined) reject(over);
      });
    },
  };
}

/** Returns the size of the export. */
async function negotiate(stream: Stream, exportName: string): Promise<number> {
  const greeting = await stream.take(18);
  if (greeting.toString('latin1', 0, 8) !== 'NBDMAGIC' || greeting.readBigUInt64BE(8) !== optionMagic) throw new Error('no NBD server');
  // The flags of the client: fixed newstyle, no zeroes.
  stream.socket.write(Buffer.from([0, 0, 0, 3]));
  // A server that does not have them goes on with simple replies.
  await ask(stream, optionStructured, Buffer.alloc(0));
  const name = Buffer.from(exportName, 'utf8');
  const wish = Buffer.alloc(4 + name.length + 2);
  wish.writeUInt32BE(name.length, 0);
  name.copy(wish, 4);
  const { refused, sizeBytes } = await ask(stream, optionGo, wish);
  if (refused !== undefined) throw new NbdError(`the NBD server refused the export ${exportName}: ${refused.text}`, refused.type);
  return sizeBytes;
}

interface OptionAnswer {
  readonly refused: { readonly type: number; readonly text: string } | undefined;
  /** -1 when the answer does not say. */
  readonly sizeBytes: number;
}

async function ask({ socket, take }: Stream, option: number, data: Buffer): Promise<OptionAnswer> {
  const head = Buffer.alloc(16);
  head.writeBigUInt64BE(optionMagic, 0);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(data.length, 12);
  socket.write(Buffer.concat([head, data]));
  for (let sizeBytes = -1; ; ) {
    const header = await take(20);
    if (header.readBigUInt64BE(0) !== optionReplyMagic) throw new Error('the NBD server answers something else');
    const type = header.readUInt32BE(12);
    const answer = await take(header.readUInt32BE(16));
    if (type === replies.acknowledged) return { refused: undefined, sizeBytes };
    if (type >= refusals) return { refused: { type, text: answer.toString('utf8') }, sizeBytes };
    if (type === replies.info && answer.readUInt16BE(0) === 0) sizeBytes = Number(answer.readBigUInt64BE(2));
  }
}

interface Pending {
  readonly offsetBytes: number;
  /** Of a read: what it fills. Holes leave the zeroes that are there. */
  readonly target: Buffer;
  hasData: boolean;
  resolve(answer: Pending): void;
  reject(error: Error): void;
}

function clientOf(stream: Stream, sizeBytes: number): NbdClient {
  const pending = new Map<bigint, Pending>();
  let lastCookie = 0n;
  let over: Error | undefined;

  void receive(stream, pending).catch((error: Error) => {
    over = error;
    stream.socket.destroy();
    for (const { reject } of pending.values()) reject(error);
    pending.clear();
  });

  function request(command: number, offsetBytes: number, lengthBytes: number, payload?: Uint8Array, flags = 0): Promise<Pending> {
    return new Promise((resolve, reject) => {
      if (over !== undefined) return reject(over);
      lastCookie += 1n;
      const header = Buffer.alloc(28);
      header.writeUInt32BE(requestMagic, 0);
      header.writeUInt16BE(flags, 4);
      header.writeUInt16BE(command, 6);
      header.writeBigUInt64BE(lastCookie, 8);
      header.writeBigUInt64BE(BigInt(offsetBytes), 16);
      header.writeUInt32BE(lengthBytes, 24);
      const target = Buffer.alloc(command === commands.read ? lengthBytes : 0);
      pending.set(lastCookie, { offsetBytes, target, hasData: false, resolve, reject });
      stream.socket.write(header);
      if (payload !== undefined) stream.socket.write(payload);
    });
  }
  const silently = async (answer: Promise<Pending>): Promise<void> => void (await answer);

  return {
    sizeBytes,
    ended: stream.ended,
    read: async (offsetBytes, lengthBytes) => (await request(commands.read, offsetBytes, lengthBytes)).target,
    async readUnlessHole(offsetBytes, lengthBytes) {
      const { target, hasData } = await request(commands.read, offsetBytes, lengthBytes);
      return hasData ? target : undefined;
    },
    write: (offsetBytes, bytes, options) =>
      silently(request(commands.write, offsetBytes, bytes.length, bytes, options?.durable === true ? requestFlags.durable : 0)),
    zero: (offsetBytes, lengthBytes, options) =>
      silently(request(commands.zero, offsetBytes, lengthBytes, undefined, options?.keepSpace === true ? requestFlags.keepSpace : 0)),
    trim: (offsetBytes, lengthBytes) => silently(request(commands.trim, offsetBytes, lengthBytes)),
    flush: () => silently(request(commands.flush, 0, 0)),
    async close() {
      if (over === undefined) {
        const header = Buffer.alloc(28);
        header.writeUInt32BE(requestMagic, 0);
        header.writeUInt16BE(commands.disconnect, 6);
        stream.socket.end(header);
      }
      await stream.ended;
    },
  };
}

/** Hands answers to whoever waits for them, until the connection ends. */
async function receive(stream: Stream, pending: Map<bigint, Pending>): Promise<never> {
  for (;;) {
    const magic = (await stream.take(4)).readUInt32BE(0);
    if (magic !== replyMagic && magic !== chunkMagic) throw new Error('the NBD server answers something else');
    const { cookie, errno, isLast } = await (magic === replyMagic ? simpleReply(stream, pending) : chunk(stream, pending));
    if (!isLast && errno === 0) continue;
    const waiting = pending.get(cookie);
    pending.delete(cookie);
    if (errno !== 0) waiting?.reject(new NbdError(`the NBD server refused a request: error ${errno}`, errno));
    else waiting?.resolve(waiting);
  }
}

interface Reply {
  readonly cookie: bigint;
  readonly errno: number;
  readonly isLast: boolean;
}

function waitingFor(pending: Map<bigint, Pending>, cookie: bigint): Pending {
  const waiting = pending.get(cookie);
  if (waiting === undefined) throw new Error('the NBD server answers what nobody asked');
  return waiting;
}

async function simpleReply({ take }: Stream, pending: Map<bigint, Pending>): Promise<Reply> {
  const header = await take(12);
  const [errno, cookie] = [header.readUInt32BE(0), header.readBigUInt64BE(4)];
  const waiting = waitingFor(pending, cookie);
  if (errno === 0) (await take(waiting.target.length)).copy(waiting.target);
  waiting.hasData = true;
  return { cookie, errno, isLast: true };
}

async function chunk({ take }: Stream, pending: Map<bigint, Pending>): Promise<Reply> {
  const header = await take(16);
  const [flags, type, cookie] = [header.readUInt16BE(0), header.readUInt16BE(2), header.readBigUInt64BE(4)];
  const body = await take(header.readUInt32BE(12));
  const waiting = waitingFor(pending, cookie);
  if (type === chunks.data) {
    body.copy(waiting.target, Number(body.readBigUInt64BE(0)) - waiting.offsetBytes, 8);
    waiting.hasData = true;
  }
  return { cookie, errno: type >= chunks.errors ? body.readUInt32BE(0) : 0, isLast: (flags & chunks.last) !== 0 };
}
