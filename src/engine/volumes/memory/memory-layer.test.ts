import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newLayer } from '../contract-suite/test-disks.ts';
import { changesOf, lookUp, type MemoryLayer, makeMemoryLayer, readChain, setSize, writeTop, zeroTop } from './memory-layer.ts';
import { createMemorySpace } from './memory-space.ts';

/** Sizes and places that end inside of blocks, on purpose. */
const sectors = fc.integer({ min: 1, max: 60 });
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('write', 'zero'),
      at: fc.nat(60),
      count: sectors,
      pattern: fc.integer({ min: 1, max: 255 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('layer'), at: fc.nat(60), count: sectors, pattern: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('resize'), at: fc.nat(60), count: sectors, pattern: fc.constant(0) }) },
);

/** The bytes of a disk, cut off or filled up with zeroes. */
const withSize = (bytes: Buffer, sizeBytes: number): Buffer =>
  Buffer.concat([bytes.subarray(0, sizeBytes), Buffer.alloc(Math.max(0, sizeBytes - bytes.length))]);

const readAll = (chain: readonly MemoryLayer[]): Buffer => {
  const bytes = Buffer.alloc((chain.at(-1) as MemoryLayer).sizeBytes, 0xee);
  readChain(chain, 0, bytes);
  return bytes;
};

describe('a layer in memory', () => {
  it('shows what a plain buffer holds, whatever sizes the layers have, and tells of every change', () => {
    fc.assert(
      fc.property(sectors, fc.array(step, { maxLength: 20 }), (first, steps) => {
        const chain = [makeMemoryLayer(newLayer('home', first * 512), undefined, new Date(0))];
        const models: Buffer[] = [Buffer.alloc(first * 512)];
        const space = createMemorySpace({ capacityBytes: 2 ** 30, keptBytes: 0 });
        for (const { kind, at, count, pattern } of steps) {
          const model = models.at(-1) as Buffer;
          const [start, end] = [Math.min(at * 512, model.length - 512), Math.min((at + count) * 512, model.length)];
          if (kind === 'layer') {
            chain.push(makeMemoryLayer(newLayer('home', count * 512), undefined, new Date(0)));
            models.push(withSize(model, count * 512));
          } else if (kind === 'resize') {
            setSize(chain, count * 512, space);
            models[models.length - 1] = withSize(model, count * 512);
          } else if (kind === 'write') {
            writeTop(chain, start, Buffer.alloc(end - start, pattern), space);
            model.fill(pattern, start, end);
          } else {
            zeroTop(chain, start, end - start, space);
            model.fill(0, start, end);
          }
          expect(readAll(chain).equals(models.at(-1) as Buffer)).toBe(true);
        }
        for (const [i] of chain.entries()) expect(readAll(chain.slice(0, i + 1)).equals(models[i] as Buffer)).toBe(true);
        expect(2 ** 30 - space.availableBytes()).toBe(chain.reduce((sum, layer) => sum + layer.blocks.size * 4096, 0));
        for (const [i, layer] of chain.entries()) expectChanges(layer, models[i] as Buffer, models[i - 1]);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps zeroes without blocks, and blocks that were handed out as they were', () => {
    const space = createMemorySpace({ capacityBytes: 2 ** 30, keptBytes: 0 });
    const layer = makeMemoryLayer(newLayer('home', 65_536), undefined, new Date(0));
    writeTop([layer], 0, Buffer.alloc(8192, 1), space);
    const { block } = lookUp([layer], 0);
    writeTop([layer], 100, Buffer.alloc(100, 2), space);
    expect(block?.equals(Buffer.alloc(4096, 1))).toBe(true);
    zeroTop([layer], 0, 65_536, space);
    expect(layer.blocks.size).toBe(0);
    expect([...changesOf(layer).ranges()]).toEqual([[0, 65_536]]);
  });
});

/** Within the size of the layer; what a smaller one hides is for the backend to add. */
function expectChanges(layer: MemoryLayer, now: Buffer, before: Buffer = Buffer.alloc(0)): void {
  const changes = changesOf(layer);
  for (let at = 0; at < now.length; at += 512) {
    const was = withSize(before, now.length).subarray(at, at + 512);
    if (!now.subarray(at, at + 512).equals(was)) expect(changes.covers(at, at + 512)).toBe(true);
  }
}
