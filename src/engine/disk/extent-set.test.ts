import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ByteRange, ExtentSet, ExtentSetFormatError } from './extent-set.ts';

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
