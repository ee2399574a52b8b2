/**
 * The encoded form of a set of byte ranges, from and to its bounds (start, end, start, end, … strictly ascending).
 *
 * Version 2: the magic `SPXS`, a version byte, the unit as a power of two (one byte; all bounds are multiples of it), the range count, then for each
 * range its distance from the end of the range before and its length, in units, as little-endian base-128 numbers; last the CRC-32 of everything
 * before it, 4 bytes little-endian. Version 1 has no unit: it counts bytes. It is still read.
 *
 * In whole chunks of 64 KiB, a million ranges scattered over 1 TiB take 2 MB.
 */
import { crc32 } from 'node:zlib';
import type { Steps } from '../../lib/steps.ts';

const MAGIC = Buffer.from('SPXS', 'latin1');
const VERSION = 2;
const VERSION_WITHOUT_UNIT = 1;
const CHECKSUM_BYTES = 4;
/** Bounds are below 2^53, so a number takes at most eight bytes. */
const NUMBER_BYTES_MAX = 8;
const UNIT_BITS_MAX = 52;
/** Bounds that one step handles: a fraction of a millisecond. */
const STEP_BOUNDS = 16_384;

/** A stored extent set that is damaged, or that a newer program wrote. */
export class ExtentSetFormatError extends Error {
  constructor(reason: string) {
    super(`not a valid extent set: ${reason}`);
    this.name = 'ExtentSetFormatError';
  }
}

export function* encodeBounds(bounds: Float64Array): Steps<Buffer> {
  const unitBits = yield* commonUnitBits(bounds);
  const unit = 2 ** unitBits;
  const target = Buffer.allocUnsafe(MAGIC.length + 2 + NUMBER_BYTES_MAX + bounds.length * NUMBER_BYTES_MAX + CHECKSUM_BYTES);
  let position = MAGIC.copy(target);
  target[position++] = VERSION;
  target[position++] = unitBits;
  position = writeNumber(target, position, bounds.length / 2);
  let previous = 0;
  for (let i = 0; i < bounds.length; ) {
    for (const stop = Math.min(bounds.length, i + STEP_BOUNDS); i < stop; i += 1) {
      const bound = bounds[i] as number;
      position = writeNumber(target, position, (bound - previous) / unit);
      previous = bound;
    }
    yield;
  }
  const end = target.writeUInt32LE(crc32(target.subarray(0, position)), position);
  return Buffer.from(target.subarray(0, end));
}

export function* decodeBounds(encoded: Uint8Array): Steps<Float64Array> {
  const bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const reader = openEncoded(bytes);
  const unit = 2 ** reader.unitBits;
  const count = readNumber(reader);
  // A crafted count must not make us take memory for it.
  if (count > (reader.end - reader.at) / 2) throw new ExtentSetFormatError('too short for its range count');
  const bounds = new Float64Array(count * 2);
  let position = 0;
  for (let i = 0; i < bounds.length; ) {
    for (const stop = Math.min(bounds.length, i + STEP_BOUNDS); i < stop; i += 1) {
      const distance = readNumber(reader);
      if (distance === 0 && i > 0) throw new ExtentSetFormatError('ranges are not in order');
      position += distance * unit;
      bounds[i] = position;
    }
    if (!Number.isSafeInteger(position)) throw new ExtentSetFormatError('a range ends beyond 2^53');
    yield;
  }
  if (reader.at !== reader.end) throw new ExtentSetFormatError('bytes are left over');
  return bounds;
}

interface Reader {
  readonly bytes: Buffer;
  readonly unitBits: number;
  at: number;
  readonly end: number;
}

function openEncoded(bytes: Buffer): Reader {
  const end = bytes.length - CHECKSUM_BYTES;
  if (end <= MAGIC.length || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw new ExtentSetFormatError('no magic');
  const version = bytes[MAGIC.length];
  if (version !== VERSION && version !== VERSION_WITHOUT_UNIT) throw new ExtentSetFormatError(`unknown version ${version}`);
  if (bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) throw new ExtentSetFormatError('wrong checksum');
  const unitBits = version === VERSION ? bytes.readUInt8(MAGIC.length + 1) : 0;
  if (unitBits > UNIT_BITS_MAX) throw new ExtentSetFormatError('its unit is too large');
  return { bytes, unitBits, at: MAGIC.length + (version === VERSION ? 2 : 1), end };
}

/** The largest power of two that divides all bounds, by its exponent. */
function* commonUnitBits(bounds: Float64Array): Steps<number> {
  let low = 0;
  let high = 0;
  // Once a bit is set that no unit divides, nothing that comes can change that.
  for (let i = 0; i < bounds.length && (low & 1) === 0; ) {
    for (const stop = Math.min(bounds.length, i + STEP_BOUNDS); i < stop; i += 1) {
      const bound = bounds[i] as number;
      low |= bound;
      high |= bound / 2 ** 32;
    }
    yield;
  }
  if (low !== 0) return 31 - Math.clz32(low & -low);
  return high === 0 ? 0 : 32 + 31 - Math.clz32(high & -high);
}

/** Bit operations end at 32 bits; above, arithmetic. */
function writeNumber(target: Buffer, offset: number, value: number): number {
  let rest = value;
  let position = offset;
  for (; rest >= 2 ** 31; rest = Math.floor(rest / 0x80)) target[position++] = (rest % 0x80) | 0x80;
  for (; rest >= 0x80; rest >>>= 7) target[position++] = (rest & 0x7f) | 0x80;
  target[position++] = rest;
  return position;
}

function readNumber(reader: Reader): number {
  const { bytes, end } = reader;
  let value = 0;
  for (let scale = 1; reader.at < end && Number.isSafeInteger(scale); scale *= 0x80) {
    const byte = bytes[reader.at++] as number;
    value += (byte & 0x7f) * scale;
    if (!Number.isSafeInteger(value)) break;
    if (byte < 0x80) return value;
  }
  throw new ExtentSetFormatError('a number does not end');
}
