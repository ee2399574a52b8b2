/**
 * Space for bytes that are arriving.
 *
 * What a sender announces is reserved before the first byte is taken, except for raw disks: those are mostly zeroes, which take nothing, so that
 * their length says little. They, and uploads of unknown length, reserve piece by piece, each before it is taken.
 */
import { unwrittenBytesMax } from '../../engine/image-intake/upload.ts';
import { type Reservation, type SpaceAccount, SpaceError } from '../../engine/space/contract.ts';

export interface ArrivingBytes {
  /** Where they are written. */
  readonly path: string;
  readonly isRaw: boolean;
  readonly expectedBytes: number | undefined;
  readonly stream: AsyncIterable<Uint8Array>;
}

const mib = 2 ** 20;
/** The small pieces are for a disk that is nearly full. */
const pieceBytes = [64 * mib, 8 * mib];
const purpose = 'the image';

/** Runs `take` with the same bytes, none of which it gets before there is space for it. Throws a `SpaceError` when there is none. */
export async function withSpaceFor<T>(
  space: Pick<SpaceAccount, 'reserve'>,
  arriving: ArrivingBytes,
  take: (stream: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  const { path, isRaw, expectedBytes = Number.POSITIVE_INFINITY } = arriving;
  const pieces =
    isRaw || expectedBytes === Number.POSITIVE_INFINITY ? pieceBytes.map((bytes) => Math.min(bytes, expectedBytes)) : [expectedBytes];
  const [coveredBytes, reservation] = await first(pieces, (bytes) => space.reserve({ path, bytes, purpose }));
  try {
    return await take(grownWith(arriving.stream, coveredBytes, reservation));
  } finally {
    reservation.release();
  }
}

async function* grownWith(stream: AsyncIterable<Uint8Array>, firstBytes: number, reservation: Reservation): AsyncGenerator<Uint8Array> {
  let coveredBytes = firstBytes;
  let takenBytes = 0;
  for await (const chunk of stream) {
    if (takenBytes + chunk.length > coveredBytes) {
      const pieces = pieceBytes.map((bytes) => Math.max(bytes, chunk.length));
      const [moreBytes] = await first(pieces, (bytes) => reservation.extend(bytes + unwrittenBytesMax));
      coveredBytes = takenBytes + moreBytes;
    }
    takenBytes += chunk.length;
    yield chunk;
  }
}

/** The first size for which there is space, and what came of it. */
async function first<T>(sizes: readonly number[], attempt: (bytes: number) => Promise<T>): Promise<[bytes: number, result: T]> {
  const [bytes = 0, ...smaller] = sizes;
  try {
    return [bytes, await attempt(bytes)];
  } catch (error) {
    if (smaller.length === 0 || !(error instanceof SpaceError)) throw error;
    return await first(smaller, attempt);
  }
}
