import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layerOfNode, nodeNameOf } from './node-names.ts';

const formats = fc.constantFrom('raw' as const, 'qcow2' as const);
const shortIds = fc.string({ unit: fc.constantFrom(...'abcXYZ019_-'), minLength: 1, maxLength: 26 }).map((text) => `a${text.slice(1)}`);

describe('names of block nodes', () => {
  it('tell the layer again, and fit into what QEMU allows', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uuid(), shortIds), formats, (id, format) => {
        const name = nodeNameOf({ id, format });
        expect(`f${name}`).toMatch(/^[A-Za-z][A-Za-z0-9._-]{0,30}$/);
        expect(layerOfNode(name)).toEqual({ id, format });
      }),
    );
  });

  it('are refused to ids that do not fit, and not read from foreign nodes', () => {
    expect(() => nodeNameOf({ id: 'x'.repeat(27), format: 'raw' })).toThrow(/neither a UUID nor short/);
    expect(() => layerOfNode('#block123')).toThrow(/no layer/);
  });
});
