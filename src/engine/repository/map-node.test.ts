import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIdHasher } from './chunk-id.ts';
import { FAN_OUT, packNameOf } from './format.ts';
import { MapNode } from './map-node.ts';

const hasher = createIdHasher(randomBytes(32));
const sessions = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];

const entries = fc.uniqueArray(
  fc.record({
    index: fc.integer({ min: 0, max: FAN_OUT - 1 }),
    session: fc.integer({ min: 0, max: 1 }),
    sequence: fc.integer({ min: 0, max: 0xffffffff }),
    frame: fc.integer({ min: 0, max: 0xffff }),
    slot: fc.integer({ min: 0, max: 3 }),
    offsetBytes: fc.integer({ min: 0, max: 0xffffffff }),
  }),
  { selector: (entry) => entry.index, maxLength: FAN_OUT },
);

describe('a node of the disk map', () => {
  it('comes back from its encoded form with ids and places', () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 0, max: 3 }), (list, level) => {
        const node = new MapNode(level);
        for (const entry of list) {
          const pack = packNameOf(sessions[entry.session] as string, entry.sequence);
          node.set(
            entry.index,
            randomBytes(16),
            0,
            { pack, frame: entry.frame, offsetBytes: entry.offsetBytes, lengthBytes: 77 },
            entry.slot,
          );
        }
        const back = MapNode.decode(node.encode(), level, 'a node');
        expect(back.ids.equals(node.ids)).toBe(true);
        for (let index = 0; index < FAN_OUT; index += 1) {
          expect(back.isHole(index)).toBe(node.isHole(index));
          const [a, b] = [back.addressOf(index), node.addressOf(index)];
          // Frames are told apart by pack and number: two entries of one frame have one offset.
          expect([a?.pack, a?.frame]).toEqual([b?.pack, b?.frame]);
          if (b !== undefined) expect(back.slotOf(index)).toBe(node.slotOf(index));
        }
      }),
      { numRuns: 50 },
    );
  });

  it('has an id of its content alone: not of places, but of level and position', () => {
    const chunk = randomBytes(16);
    const make = (level: number, index: number, sequence: number): Buffer => {
      const node = new MapNode(level);
      node.set(index, chunk, 0, { pack: packNameOf(sessions[0] as string, sequence), frame: sequence, offsetBytes: 1, lengthBytes: 2 }, 0);
      return node.id(hasher);
    };
    expect(make(0, 5, 1).equals(make(0, 5, 2))).toBe(true);
    expect(make(0, 5, 1).equals(make(0, 6, 1))).toBe(false);
    expect(make(0, 5, 1).equals(make(1, 5, 1))).toBe(false);
    expect(new MapNode(0).id(hasher).every((byte) => byte === 0)).toBe(true);
  });

  it('is refused when its bytes are cut, or belong to another level', () => {
    const node = new MapNode(0);
    node.set(3, randomBytes(16), 0, { pack: packNameOf(sessions[0] as string, 1), frame: 1, offsetBytes: 1, lengthBytes: 2 }, 0);
    const encoded = node.encode();
    for (let length = 0; length < encoded.length; length += 1) {
      expect(() => MapNode.decode(encoded.subarray(0, length), 0, 'a node')).toThrow(/a node is damaged/);
    }
    expect(() => MapNode.decode(encoded, 1, 'a node')).toThrow(/another level/);
    expect(() => MapNode.decode(Buffer.concat([encoded, Buffer.alloc(1)]), 0, 'a node')).toThrow(/left over/);
  });
});
