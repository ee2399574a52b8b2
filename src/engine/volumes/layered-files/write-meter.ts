/**
 * The NBD client for the meter of a daemon (gate-nodes.ts), which knows one request: a discard.
 *
 * Its connection stays open for as long as a pause: a daemon that switches layers need not see a client off at the same time.
 */
import { connect, type Socket } from 'node:net';
import { messageOf } from '../../../lib/errors.ts';
import { command, handshakeFlag, handshakeMagic, option, optionMagic, requestHeaderBytes, requestMagic } from '../../disk/nbd-protocol.ts';
import { type NbdStream, streamOf } from '../../disk/nbd-stream.ts';
import { VolumeBackendError } from '../errors.ts';
import { meterExportName } from './gate-nodes.ts';

export interface WriteMeter {
  /** Returns once the discard was let through, and so counts. Rejects when that takes longer than `timeoutMs`; the connection is over then. */
  spend(bytes: number, timeoutMs: number): Promise<void>;
  close(): void;
}

const handshakeTimeoutMs = 2_000;
/** Size and flags of the export. */
const describedBytes = 10;
const replyBytes = 16;

export async function connectMeter(socketPath: string): Promise<WriteMeter> {
  const socket = connect(socketPath);
  const stream = streamOf(socket);
  await within(socket, handshakeTimeoutMs, shakeHands(stream));
  return {
    spend: (bytes, timeoutMs) => within(socket, timeoutMs, discard(stream, bytes)),
    close: () => void socket.end(requestOf(command.disconnect, 0)),
  };
}

async function shakeHands(stream: NbdStream): Promise<void> {
  const greeting = await stream.read(handshakeMagic.length + 2);
  if (!greeting.subarray(0, handshakeMagic.length).equals(handshakeMagic)) throw new Error('the server does not greet like one');
  const hello = Buffer.alloc(4 + optionMagic.length + 8 + meterExportName.length);
  hello.writeUInt32BE(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes, 0);
  optionMagic.copy(hello, 4);
  hello.writeUInt32BE(option.exportName, 12);
  hello.writeUInt32BE(meterExportName.length, 16);
  hello.write(meterExportName, 20, 'latin1');
  await stream.write(hello);
  await stream.read(describedBytes);
}

async function discard(stream: NbdStream, bytes: number): Promise<void> {
  await stream.write(requestOf(command.trim, bytes));
  const error = (await stream.read(replyBytes)).readUInt32BE(4);
  if (error !== 0) throw new Error(`the server refused a discard: error ${error}`);
}

function requestOf(kind: number, lengthBytes: number): Buffer {
  const request = Buffer.alloc(requestHeaderBytes);
  request.writeUInt32BE(requestMagic, 0);
  request.writeUInt16BE(kind, 6);
  request.writeUInt32BE(lengthBytes, 24);
  return request;
}

/** A failure ends the connection, so that what was asked for is not waited for by anybody. */
async function within(socket: Socket, timeoutMs: number, work: Promise<void>): Promise<void> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    socket.destroy();
  }, timeoutMs);
  try {
    await work;
  } catch (cause) {
    socket.destroy();
    const reason = isLate ? `it did not answer within ${timeoutMs} ms` : messageOf(cause);
    throw new VolumeBackendError('failed', `the server of a disk does not hold writes back: ${reason}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}
