/**
 * A client of network block devices over a unix socket, as a machine would be one: many requests in flight, each answered on its own. For tests and
 * benches that have to stay connected, count what was acknowledged, and time single writes.
 * The protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle, simple replies).
 */
import { connect, type Socket } from 'node:net';

export interface NbdClient {
  readonly sizeBytes: number;
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
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
const commands = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, zero: 6 } as const;
const optionGo = 7;
const replies = { acknowledged: 1, info: 3 } as const;

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
async function negotiate({ socket, take }: Stream, exportName: string): Promise<number> {
  const greeting = await take(18);
  if (greeting.toString('latin1', 0, 8) !== 'NBDMAGIC' || greeting.readBigUInt64BE(8) !== optionMagic) throw new Error('no NBD server');
  const name = Buffer.from(exportName, 'utf8');
  const option = Buffer.alloc(4 + 16 + 4 + name.length + 2);
  // The flags of the client: fixed newstyle, no zeroes.
  option.writeUInt32BE(3, 0);
  option.writeBigUInt64BE(optionMagic, 4);
  option.writeUInt32BE(optionGo, 12);
  option.writeUInt32BE(name.length + 6, 16);
  option.writeUInt32BE(name.length, 20);
  name.copy(option, 24);
  socket.write(option);
  for (let sizeBytes = -1; ; ) {
    const header = await take(20);
    if (header.readBigUInt64BE(0) !== optionReplyMagic) throw new Error('the NBD server answers something else');
    const type = header.readUInt32BE(12);
    const data = await take(header.readUInt32BE(16));
    if (type === replies.acknowledged) return sizeBytes;
    if (type !== replies.info) throw new NbdError(`the NBD server refused the export ${exportName}: ${data.toString('utf8')}`, type);
    if (data.readUInt16BE(0) === 0) sizeBytes = Number(data.readBigUInt64BE(2));
  }
}

interface Pending {
  readonly readBytes: number;
  resolve(bytes: Buffer): void;
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

  function request(command: number, offsetBytes: number, lengthBytes: number, payload?: Uint8Array): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (over !== undefined) return reject(over);
      lastCookie += 1n;
      const header = Buffer.alloc(28);
      header.writeUInt32BE(requestMagic, 0);
      header.writeUInt16BE(command, 6);
      header.writeBigUInt64BE(lastCookie, 8);
      header.writeBigUInt64BE(BigInt(offsetBytes), 16);
      header.writeUInt32BE(lengthBytes, 24);
      pending.set(lastCookie, { readBytes: command === commands.read ? lengthBytes : 0, resolve, reject });
      stream.socket.write(header);
      if (payload !== undefined) stream.socket.write(payload);
    });
  }
  const silently = async (answer: Promise<Buffer>): Promise<void> => void (await answer);

  return {
    sizeBytes,
    ended: stream.ended,
    read: (offsetBytes, lengthBytes) => request(commands.read, offsetBytes, lengthBytes),
    write: (offsetBytes, bytes) => silently(request(commands.write, offsetBytes, bytes.length, bytes)),
    zero: (offsetBytes, lengthBytes) => silently(request(commands.zero, offsetBytes, lengthBytes)),
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
async function receive({ take }: Stream, pending: Map<bigint, Pending>): Promise<never> {
  for (;;) {
    const header = await take(16);
    if (header.readUInt32BE(0) !== replyMagic) throw new Error('the NBD server answers something else');
    const errno = header.readUInt32BE(4);
    const waiting = pending.get(header.readBigUInt64BE(8));
    if (waiting === undefined) throw new Error('the NBD server answers what nobody asked');
    pending.delete(header.readBigUInt64BE(8));
    if (errno !== 0) waiting.reject(new NbdError(`the NBD server refused a request: error ${errno}`, errno));
    else waiting.resolve(Buffer.from(await take(waiting.readBytes)));
  }
}
