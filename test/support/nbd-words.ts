/** The words of an NBD client, one by one, for tests that say the wrong ones. `nbd-client.ts` is for those that say the right ones. */
import { connect, type Socket } from 'node:net';
import { handshakeMagic, option, optionMagic, optionReply, requestMagic } from '../../src/engine/disk/nbd-protocol.ts';
import { type NbdStream, streamOf } from '../../src/engine/disk/nbd-stream.ts';

export interface AnyRequest {
  readonly command: number;
  readonly flags?: number;
  readonly offsetBytes?: bigint;
  readonly lengthBytes?: number;
  readonly payload?: Buffer;
}

export interface NbdTalk {
  readonly socket: Socket;
  readonly stream: NbdStream;
}

/** Fixed newstyle, no padding. */
export const clientFlags: Buffer = Buffer.from([0, 0, 0, 3]);

export function encodeOption(id: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(16);
  optionMagic.copy(header);
  header.writeUInt32BE(id, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

/** The data of GO and INFO: a name, and no wishes. */
export function encodeName(name: string): Buffer {
  const data = Buffer.alloc(4 + Buffer.byteLength(name) + 2);
  data.writeUInt32BE(Buffer.byteLength(name));
  data.write(name, 4);
  return data;
}

export function encodeRequest(request: AnyRequest): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(requestMagic, 0);
  header.writeUInt16BE(request.flags ?? 0, 4);
  header.writeUInt16BE(request.command, 6);
  header.writeBigUInt64BE(request.offsetBytes ?? 0n, 16);
  header.writeUInt32BE(request.lengthBytes ?? request.payload?.length ?? 0, 24);
  return Buffer.concat([header, request.payload ?? Buffer.alloc(0)]);
}

/** A connection that was greeted and has greeted. */
export async function beginTalk(socketPath: string): Promise<NbdTalk> {
  const socket = connect(socketPath);
  const stream = streamOf(socket);
  const greeting = await stream.read(18);
  if (!greeting.subarray(0, 16).equals(handshakeMagic)) throw new Error('this is no NBD server');
  await stream.write(clientFlags);
  return { socket, stream };
}

/** The type and the data of the next answer to an option. */
export async function readOptionReply({ stream }: NbdTalk): Promise<{ type: number; data: Buffer }> {
  const header = await stream.read(20);
  return { type: header.readUInt32BE(12), data: await stream.read(header.readUInt32BE(16)) };
}

/** A connection on which requests may follow, and the flags that the server gave. */
export async function enterDisk(socketPath: string): Promise<NbdTalk & { readonly flags: number }> {
  const talk = await beginTalk(socketPath);
  await talk.stream.write(encodeOption(option.go, encodeName('')));
  let flags = 0;
  for (;;) {
    const { type, data } = await readOptionReply(talk);
    if (type === optionReply.ack) return { ...talk, flags };
    if (type === optionReply.info && data.readUInt16BE() === 0) flags = data.readUInt16BE(10);
  }
}

/** Sends a request that is answered without data, and returns the error in the answer. */
export async function errorOf({ stream }: NbdTalk, request: AnyRequest): Promise<number> {
  await stream.write(encodeRequest(request));
  return (await stream.read(16)).readUInt32BE(4);
}
