import { randomBytes } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FRAME_BYTES_MAX } from './format.ts';
import { CODEC_RAW, CODEC_ZSTD, createFrameCodec } from './frame-codec.ts';

const codec = createFrameCodec(FRAME_BYTES_MAX);

/** Pieces of random, repeated and empty bytes, up to a whole frame. */
const plainTexts = fc
  .array(fc.tuple(fc.constantFrom('random', 'text', 'zero'), fc.integer({ min: 1, max: 40_000 })), { minLength: 1, maxLength: 6 })
  .map((pieces) =>
    Buffer.concat(
      pieces.map(([kind, length]) => (kind === 'random' ? randomBytes(length) : Buffer.alloc(length, kind === 'text' ? 'abcdefg ' : 0))),
    ),
  );

describe('the codec of frames', () => {
  it('returns every plain text', () => {
    fc.assert(
      fc.property(plainTexts, (plain) => {
        const { codec: number, bytes } = codec.compress(plain);
        return codec.decompress(number, Buffer.from(bytes), plain.length)?.equals(plain) === true;
      }),
      { numRuns: 60 },
    );
  });

  it('writes zstd frames that any other decoder reads', () => {
    const plain = Buffer.alloc(FRAME_BYTES_MAX, 'text that repeats itself ');
    const { codec: number, bytes } = codec.compress(plain);
    expect(number).toBe(CODEC_ZSTD);
    expect(bytes.length).toBeLessThan(1000);
    expect(zstdDecompressSync(bytes).equals(plain)).toBe(true);
  });

  it('stores random bytes as they are, a whole frame of them and a few', () => {
    for (const plain of [randomBytes(FRAME_BYTES_MAX), randomBytes(64 * 1024), randomBytes(100)]) {
      expect(codec.compress(plain)).toEqual({ codec: CODEC_RAW, bytes: plain });
    }
  });

  it('refuses damaged, cut and overlong frames, and works on afterwards', () => {
    const plain = Buffer.alloc(100_000, 'text that repeats itself ');
    const packed = Buffer.from(codec.compress(plain).bytes);
    const damaged = Buffer.from(packed);
    damaged.fill(0xff, 4, 12);
    expect(codec.decompress(CODEC_ZSTD, damaged, plain.length)).toBeUndefined();
    expect(codec.decompress(CODEC_ZSTD, packed.subarray(0, packed.length - 5), plain.length)).toBeUndefined();
    expect(codec.decompress(CODEC_ZSTD, packed, plain.length - 1)).toBeUndefined();
    expect(codec.decompress(CODEC_RAW, plain, plain.length + 1)).toBeUndefined();
    expect(codec.decompress(7, plain, plain.length)).toBeUndefined();
    const bomb = Buffer.from(createFrameCodec(8 * FRAME_BYTES_MAX).compress(Buffer.alloc(8 * FRAME_BYTES_MAX)).bytes);
    expect(codec.decompress(CODEC_ZSTD, bomb, 8 * FRAME_BYTES_MAX)).toBeUndefined();
    expect(codec.decompress(CODEC_ZSTD, packed, plain.length)?.equals(plain)).toBe(true);
  });
});
