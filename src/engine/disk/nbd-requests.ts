/**
 * The second half of an NBD connection: requests, each with one answer, in whatever order they are done.
 *
 * A request that asks for the impossible is refused, and the connection lives on. Only where the next request would begin cannot be told any
 * more (a wrong magic, a write that is too long to be taken in) it ends. How much of a connection's requests may be under way is bounded,
 * in number and in bytes; a client that sends more, or does not fetch its answers, waits.
 */
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { BlockDevice } from './block-device.ts';
import { type NbdAgreement, NbdProtocolError, requestBytesMax } from './nbd-handshake.ts';
import {
  allocationContext,
  chunk,
  command,
  commandFlag,
  encodeChunkHeader,
  encodeNumbers,
  encodeOffset,
  encodeSimpleReply,
  type NbdRequest,
  nbdError,
  parseRequest,
  requestHeaderBytes,
} from './nbd-protocol.ts';
import type { NbdStream } from './nbd-stream.ts';

export interface Serving {
  readonly stream: NbdStream;
  readonly device: BlockDevice;
  readonly agreement: NbdAgreement;
  readonly log: Log;
}

const underWayMax = 16;
/** At least one request of the greatest length. */
const bytesUnderWayMax = 2 * requestBytesMax;
const piecesMax = 1024;

/** Ends when the client takes its leave; throws when it is gone, or does not keep to the protocol. Nothing is under way any more then. */
export async function serveRequests(serving: Serving): Promise<void> {
  const { stream } = serving;
  const room = createRoom();
  try {
    for (;;) {
      const request = parseRequest(await stream.read(requestHeaderBytes));
      if (request === undefined) throw new NbdProtocolError('a request does not begin like one');
      if (request.command === command.disconnect) return;
      const isWrite = request.command === command.write;
      if (isWrite && request.lengthBytes > requestBytesMax) throw new NbdProtocolError(`a write of ${request.lengthBytes} bytes`);
      const heldBytes = isWrite || request.command === command.read ? Math.min(request.lengthBytes, requestBytesMax) : 0;
      const leave = await room.enter(heldBytes);
      const payload = isWrite ? stream.read(request.lengthBytes) : Promise.resolve(Buffer.alloc(0));
      answer(serving, request, payload).then(leave, leave);
      // The next request begins where the payload ends. Its failure is that of the connection.
      await payload;
    }
  } finally {
    await room.empty();
  }
}

async function answer(serving: Serving, request: NbdRequest, payload: Promise<Buffer>): Promise<void> {
  const bytes = await payload;
  const refusal = refuse(serving, request);
  let reply: readonly Buffer[];
  try {
    reply = refusal === undefined ? await perform(serving, request, bytes) : failure(serving, request, refusal);
  } catch (error) {
    serving.log.warn({ command: request.command, error: messageOf(error) }, 'a request to a served disk failed');
    const isFull = (error as NodeJS.ErrnoException).code === 'ENOSPC';
    reply = failure(serving, request, isFull ? nbdError.noSpace : nbdError.io);
  }
  await serving.stream.write(...reply);
}

const knownFlags: Readonly<Record<number, number>> = {
  [command.read]: commandFlag.fua,
  [command.write]: commandFlag.fua,
  [command.flush]: commandFlag.fua,
  [command.trim]: commandFlag.fua,
  [command.writeZeroes]: commandFlag.fua | commandFlag.noHole,
  [command.blockStatus]: commandFlag.fua | commandFlag.requestOne,
};

/** The error that a request gets without the device being asked. */
function refuse({ device, agreement }: Serving, request: NbdRequest): number | undefined {
  const flags = knownFlags[request.command];
  if (flags === undefined || (request.flags & ~flags) !== 0) return nbdError.invalid;
  if (request.command === command.flush) return undefined;
  const changes = request.command !== command.read && request.command !== command.blockStatus;
  if (changes && device.readOnly) return nbdError.permission;
  if (request.offsetBytes + BigInt(request.lengthBytes) > BigInt(device.sizeBytes)) return changes ? nbdError.noSpace : nbdError.invalid;
  if (request.command === command.read && request.lengthBytes > requestBytesMax) return nbdError.overflow;
  if (request.command === command.blockStatus && (!agreement.allocation || request.lengthBytes === 0)) return nbdError.invalid;
  return undefined;
}

async function perform(serving: Serving, request: NbdRequest, payload: Buffer): Promise<readonly Buffer[]> {
  const { device } = serving;
  const { lengthBytes } = request;
  const offsetBytes = Number(request.offsetBytes);
  if (request.command === command.read) return await read(serving, request, offsetBytes);
  if (request.command === command.blockStatus) return await describe(serving, request, offsetBytes);
  // The protocol leaves open what a change of nothing does; here it does nothing.
  if (lengthBytes > 0 && request.command === command.write) await device.write(offsetBytes, payload);
  if (lengthBytes > 0 && request.command === command.trim) await device.trim(offsetBytes, lengthBytes);
  if (lengthBytes > 0 && request.command === command.writeZeroes)
    await device.zero(offsetBytes, lengthBytes, { keepSpace: (request.flags & commandFlag.noHole) !== 0 });
  if (request.command === command.flush || (request.flags & commandFlag.fua) !== 0) await device.flush();
  return [encodeSimpleReply(request.cookie, 0)];
}

async function read({ device, agreement }: Serving, { cookie, lengthBytes }: NbdRequest, offsetBytes: number): Promise<readonly Buffer[]> {
  const target = Buffer.allocUnsafe(lengthBytes);
  if (lengthBytes > 0) await device.read(offsetBytes, target);
  if (!agreement.structured) return [encodeSimpleReply(cookie, 0), target];
  if (lengthBytes === 0) return [encodeChunkHeader(cookie, chunk.none, 0)];
  return [encodeChunkHeader(cookie, chunk.offsetData, 8 + lengthBytes), encodeOffset(offsetBytes), target];
}

async function describe({ device }: Serving, { cookie, flags, lengthBytes }: NbdRequest, offsetBytes: number): Promise<readonly Buffer[]> {
  const pieces = await device.describe(offsetBytes, lengthBytes);
  const told = pieces.slice(0, (flags & commandFlag.requestOne) === 0 ? piecesMax : 1);
  const { id, hole, zero } = allocationContext;
  const numbers = told.flatMap((piece) => [piece.lengthBytes, (piece.hole ? hole : 0) | (piece.zero ? zero : 0)]);
  const payload = encodeNumbers(id, ...numbers);
  return [encodeChunkHeader(cookie, chunk.blockStatus, payload.length), payload];
}

/** Where structure was agreed on, answers that may carry data have it also when they carry none. */
function failure({ agreement }: Serving, { cookie, command: asked }: NbdRequest, error: number): readonly Buffer[] {
  if (!agreement.structured || (asked !== command.read && asked !== command.blockStatus)) return [encodeSimpleReply(cookie, error)];
  const payload = Buffer.alloc(6);
  payload.writeUInt32BE(error);
  return [encodeChunkHeader(cookie, chunk.error, payload.length), payload];
}

/** For one that goes in and out: at most one call waits at a time. */
interface Room {
  /** Waits until there is room for another request that holds so many bytes. Returns what gives the room back. */
  enter(bytes: number): Promise<() => void>;
  /** Waits until nobody is in it. */
  empty(): Promise<void>;
}

function createRoom(): Room {
  let underWay = 0;
  let heldBytes = 0;
  let wake = (): void => {};
  const change = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });
  return {
    async enter(bytes) {
      while (underWay >= underWayMax || heldBytes + bytes > bytesUnderWayMax) await change();
      underWay += 1;
      heldBytes += bytes;
      return () => {
        underWay -= 1;
        heldBytes -= bytes;
        wake();
      };
    },
    async empty() {
      while (underWay > 0) await change();
    },
  };
}
