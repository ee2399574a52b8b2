import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inTurns } from '../../lib/steps.ts';
import { ExtentSetFormatError } from './extent-encoding.ts';
import { type ByteRange, ExtentSet } from './extent-set.ts';

const worldBytes = 200;

const rangesOf = (max: number) =>
  fc.array(
    fc.tuple(fc.nat(max), fc.nat(max)).map(([a, b]): ByteRange => [Math.min(a, b), Math.max(a, b)]),
    { maxLength: 12 },
  );
const smallSets = rangesOf(worldBytes).map((ranges) => ({ ranges, set: ExtentSet.of(ranges) }));

/** The naive model: one flag a byte. */
function model(ranges: readonly ByteRange[]): boolean[] {
  return Array.from({ length: worldBytes }, (_, i) => ranges.some(([start, end]) => i >= start && i < end));
}

const bytesOf = (set: ExtentSet): boolean[] => model([...set.ranges()]);

function expectCanonical(set: ExtentSet): void {
  let previousEnd = -1;
  for (const [start, end] of set.ranges()) {
    expect(start).toBeGreaterThan(previousEnd);
    expect(end).toBeGreaterThan(start);
    previousEnd = end;
  }
}

describe('ExtentSet', () => {
  it('holds exactly the bytes of its ranges, sorted and coalesced', () => {
    fc.assert(
      fc.property(smallSets, ({ ranges, set }) => {
        expectCanonical(set);
        expect(bytesOf(set)).toEqual(model(ranges));
        expect(set.totalBytes).toBe(model(ranges).filter(Boolean).length);
        expect(set.isEmpty).toBe(set.totalBytes === 0);
      }),
    );
  });

  it('unites, intersects and subtracts like sets of bytes', () => {
    fc.assert(
      fc.property(smallSets, smallSets, (a, b) => {
        const [inA, inB] = [model(a.ranges), model(b.ranges)];
        for (const [set, wanted] of [
          [a.set.union(b.set), inA.map((here, i) => here || inB[i] === true)],
          [a.set.intersect(b.set), inA.map((here, i) => here && inB[i] === true)],
          [a.set.subtract(b.set), inA.map((here, i) => here && inB[i] !== true)],
        ] as const) {
          expectCanonical(set);
          expect(bytesOf(set)).toEqual(wanted);
        }
      }),
    );
  });

  it('cuts off at a size, and grows to whole grains', () => {
    fc.assert(
      fc.property(smallSets, fc.nat(worldBytes), fc.integer({ min: 1, max: 40 }), ({ ranges, set }, size, grain) => {
        expect(bytesOf(set.clamp(size))).toEqual(model(ranges).map((here, i) => here && i < size));
        const grown = set.alignTo(grain).clamp(worldBytes);
        const inGrain = (i: number): boolean => model(ranges).some((here, j) => here && Math.floor(i / grain) === Math.floor(j / grain));
        expect(bytesOf(grown)).toEqual(Array.from({ length: worldBytes }, (_, i) => inGrain(i)));
      }),
      { numRuns: 50 },
    );
  });

  it('answers whether a range is covered or touched', () => {
    fc.assert(
      fc.property(smallSets, fc.nat(worldBytes), fc.nat(worldBytes), ({ ranges, set }, a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        const asked = model(ranges).slice(start, end);
        expect(set.covers(start, end)).toBe(asked.every(Boolean));
        expect(set.overlaps(start, end)).toBe(asked.some(Boolean));
      }),
    );
  });

  it('comes back from its encoded form, for offsets up to 2^53', () => {
    fc.assert(
      fc.property(rangesOf(Number.MAX_SAFE_INTEGER), (ranges) => {
        const set = ExtentSet.of(ranges);
        expect(ExtentSet.decode(set.encode()).equals(set)).toBe(true);
      }),
    );
    expect(ExtentSet.decode(ExtentSet.empty.encode()).isEmpty).toBe(true);
  });

  it('is encoded in the largest unit that all its bounds are multiples of', () => {
    const sets = fc.tuple(rangesOf(2 ** 20), fc.integer({ min: 0, max: 32 }));
    fc.assert(
      fc.property(sets, ([ranges, bits]) => {
        const set = ExtentSet.of(ranges);
        const scaled = ExtentSet.of(ranges.map(([start, end]): ByteRange => [start * 2 ** bits, end * 2 ** bits]));
        expect(scaled.encode().length).toBe(set.encode().length);
        expect(ExtentSet.decode(scaled.encode()).equals(scaled)).toBe(true);
      }),
    );
  });

  it('reads what was written before there were units', () => {
    // Version 1: [0, 4096) and [65536, 131072), in bytes.
    const body = Buffer.from('53505853' + '0102' + '00' + '8020' + '80e003' + '808004', 'hex');
    const check = Buffer.alloc(4);
    check.writeUInt32LE(crc32(body));
    const decoded = ExtentSet.decode(Buffer.concat([body, check]));
    expect([...decoded.ranges()]).toEqual([
      [0, 4096],
      [65_536, 131_072],
    ]);
  });

  it('gives the same in steps as at once, and others a turn in between', async () => {
    const scattered = (seed: number): ExtentSet => {
      const builder = ExtentSet.builder();
      for (let i = 0; i < 120_000; i += 1) builder.add(i * 8192 + ((i * seed) % 7) * 1024, i * 8192 + ((i * seed) % 7) * 1024 + 1500);
      return builder.build();
    };
    const [a, b] = [scattered(3), scattered(5)];
    let turns = 0;
    const counting = setInterval(() => {
      turns += 1;
    }, 0);
    const united = await inTurns(a.unionSteps(b));
    const decoded = await inTurns(ExtentSet.decodeSteps(await inTurns(united.encodeSteps())));
    const aligned = await inTurns(decoded.alignSteps(4096));
    clearInterval(counting);
    expect(turns).toBeGreaterThan(1);
    expect(united.equals(ExtentSet.of([...a.ranges(), ...b.ranges()]))).toBe(true);
    expect(decoded.equals(united)).toBe(true);
    expect(
      aligned.equals(
        ExtentSet.of([...united.ranges()].map(([start, end]): ByteRange => [start - (start % 4096), end + ((4096 - (end % 4096)) % 4096)])),
      ),
    ).toBe(true);
  });

  it('refuses to decode anything damaged', () => {
    const encoded = ExtentSet.of([
      [0, 4096],
      [65_536, 131_072],
    ]).encode();
    for (let i = 0; i < encoded.length; i += 1) {
      const flipped = Buffer.from(encoded);
      flipped[i] = (flipped[i] ?? 0) ^ 0x10;
      expect(() => ExtentSet.decode(flipped)).toThrow(ExtentSetFormatError);
      expect(() => ExtentSet.decode(encoded.subarray(0, i))).toThrow(ExtentSetFormatError);
    }
    expect(() => ExtentSet.decode(Buffer.concat([encoded, Buffer.alloc(1)]))).toThrow(ExtentSetFormatError);
  });

  it('refuses ranges that are no whole numbers of bytes', () => {
    for (const bad of [-1, 0.5, Number.NaN, 2 ** 53]) expect(() => ExtentSet.of([[bad, 2 ** 53]])).toThrow(RangeError);
  });

  it('handles 200,000 ranges in any order within a second', () => {
    const builder = ExtentSet.builder();
    for (let i = 0; i < 200_000; i += 1) builder.add(((i * 7919) % 200_000) * 8192, ((i * 7919) % 200_000) * 8192 + 4096);
    const set = builder.build();
    expect(set.rangeCount).toBe(200_000);
    const encoded = set.encode();
    expect(encoded.length).toBeLessThan(200_000 * 4 + 32);
    expect(ExtentSet.decode(encoded).union(set).intersect(set).equals(set)).toBe(true);
  }, 5000);
});
