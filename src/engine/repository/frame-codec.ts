/**
 * The codec of frames: raw, or one zstd frame of level 1.
 *
 * Node's one-call functions make and free a compression context, and a buffer as large as the output, for every call. For frames of
 * 64 KiB that costs as much as compressing them. So one stream is kept, and its handle is driven synchronously, as its own one-call
 * functions do, into a buffer that is used again. The handle is no public interface: when it does not behave as expected at start
 * the one-call functions are used.
 */
import { constants, createZstdCompress, createZstdDecompress, type ZstdOptions, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

export const CODEC_RAW = 1;
export const CODEC_ZSTD = 2;

/** Results are views of buffers that the next call overwrites. */
export interface FrameCodec {
  compress(plain: Uint8Array): { readonly codec: number; readonly bytes: Uint8Array };
  /** Undefined when the bytes are not a frame of this codec and of exactly this plain length. */
  decompress(codec: number, bytes: Uint8Array, plainBytes: number): Buffer | undefined;
}

/** A frame must save at least one part in this many, or it is stored raw and read back faster. */
const WORTHWHILE_PART = 32;
const compressOptions: ZstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

export function createFrameCodec(plainBytesMax: number): FrameCodec {
  // The bound of zstd for input that does not shrink.
  const outputBytes = plainBytesMax + (plainBytesMax >> 8) + 1024;
  const squeeze = createEngine(() => createZstdCompress(compressOptions), outputBytes) ?? oneCallCompress;
  const expand = createEngine(() => createZstdDecompress(), plainBytesMax + 1) ?? oneCallDecompress(plainBytesMax);
  const histogram = new Uint32Array(256);

  return {
    compress(plain) {
      const raw = { codec: CODEC_RAW, bytes: plain };
      if (looksRandom(plain, histogram)) return raw;
      const bytes = squeeze(plain);
      return bytes === undefined || bytes.byteLength > plain.byteLength - plain.byteLength / WORTHWHILE_PART
        ? raw
        : { codec: CODEC_ZSTD, bytes };
    },
    decompress(codec, bytes, plainBytes) {
      if (codec === CODEC_RAW)
        return bytes.byteLength === plainBytes ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : undefined;
      if (codec !== CODEC_ZSTD) return undefined;
      const plain = expand(bytes);
      return plain?.byteLength === plainBytes ? plain : undefined;
    },
  };
}

const SAMPLES = 4;
const SAMPLE_BYTES = 1024;
/** Bits a byte, over 4,096 sampled bytes: random data measures 7.95, text and programs below 7. */
const RANDOM_BITS = 7.8;

/** Whether a few samples have no structure that a byte histogram sees. Costs a hundredth of compressing. */
function looksRandom(plain: Uint8Array, histogram: Uint32Array): boolean {
  if (plain.byteLength < SAMPLES * SAMPLE_BYTES) return false;
  histogram.fill(0);
  const step = Math.floor(plain.byteLength / SAMPLES);
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const start = sample * step + ((step - SAMPLE_BYTES) >> 1);
    for (let i = start; i < start + SAMPLE_BYTES; i += 1) {
      const value = plain[i] as number;
      histogram[value] = (histogram[value] as number) + 1;
    }
  }
  let weighted = 0;
  for (const count of histogram) {
    if (count > 0) weighted += count * Math.log2(count);
  }
  const total = SAMPLES * SAMPLE_BYTES;
  return Math.log2(total) - weighted / total > RANDOM_BITS;
}

type Transform = (input: Uint8Array) => Buffer | undefined;

const oneCallCompress: Transform = (input) => zstdCompressSync(input, compressOptions);

const oneCallDecompress =
  (plainBytesMax: number): Transform =>
  (input) => {
    try {
      return zstdDecompressSync(input, { maxOutputLength: plainBytesMax });
    } catch {
      return undefined;
    }
  };

/** The inside of a zlib stream, as far as it is used here. */
interface DrivenStream {
  readonly errored: Error | null;
  readonly _writeState: Uint32Array;
  readonly _handle: {
    reset(): void;
    writeSync(
      flush: number,
      input: Uint8Array,
      at: number,
      length: number,
      output: Uint8Array,
      outputAt: number,
      outputLength: number,
    ): void;
  };
  on(event: 'error', listener: () => void): void;
}

/** Undefined when the stream cannot be driven. A stream that met an error is replaced by a new one. */
function createEngine(makeStream: () => unknown, outputBytes: number): Transform | undefined {
  const output = Buffer.allocUnsafeSlow(outputBytes);
  const begin = (): DrivenStream => {
    const made = makeStream() as DrivenStream;
    made.on('error', () => {});
    return made;
  };
  let stream = begin();
  const transform: Transform = (input) => {
    stream._handle.reset();
    stream._handle.writeSync(constants.ZSTD_e_end, input, 0, input.byteLength, output, 0, outputBytes);
    const [outputLeft, inputLeft] = stream._writeState;
    if (stream.errored !== null) {
      stream = begin();
      return undefined;
    }
    return inputLeft === 0 && outputLeft !== undefined && outputLeft > 0 ? output.subarray(0, outputBytes - outputLeft) : undefined;
  };
  return canBeDriven(transform) ? transform : undefined;
}

/** Drives a known text, and its compressed form, through: one of them is what this stream takes. Twice, to prove the reset. */
function canBeDriven(transform: Transform): boolean {
  const plain = Buffer.alloc(2048, 'every byte of this text comes back ');
  const packed = zstdCompressSync(plain, compressOptions);
  try {
    const [first, second] = [transform(packed), transform(packed)].map((bytes) => bytes?.equals(plain) === true);
    if (first && second) return true;
    return [plain, plain].every((text) => {
      const result = transform(text);
      return result !== undefined && zstdDecompressSync(result).equals(plain);
    });
  } catch {
    return false;
  }
}
