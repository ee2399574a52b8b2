import type { IdHasher } from '../../src/engine/repository/chunk-id.ts';
import { rootOf, topLevelOf } from '../../src/engine/repository/disk-map.ts';
import { CHUNK_BYTES, FAN_OUT } from '../../src/engine/repository/format.ts';
import { MapNode } from '../../src/engine/repository/map-node.ts';

/** Ids are made from ids alone: where the bytes lie does not matter. */
const nowhere = { pack: 'nowhere', frame: 0, offsetBytes: 0, lengthBytes: 0 };

/** The root of a disk with these bytes, hex: made from nothing but the bytes, as the format's description says. */
export function rootOfBytes(bytes: Buffer, hasher: IdHasher): string {
  const topLevel = topLevelOf(bytes.length);
  let ids = Array.from({ length: Math.ceil(bytes.length / CHUNK_BYTES) }, (_, index) => {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    bytes.copy(chunk, 0, index * CHUNK_BYTES, Math.min(bytes.length, (index + 1) * CHUNK_BYTES));
    return chunk.equals(Buffer.alloc(CHUNK_BYTES)) ? undefined : hasher.idOf(chunk);
  });
  for (let level = 0; level <= topLevel; level += 1) {
    ids = Array.from({ length: Math.ceil(ids.length / FAN_OUT) }, (_, index) => {
      const node = new MapNode(level);
      for (const [entry, id] of ids.slice(index * FAN_OUT, (index + 1) * FAN_OUT).entries()) if (id) node.set(entry, id, 0, nowhere, 0);
      return node.isAllHoles() ? undefined : node.id(hasher);
    });
  }
  const id = ids[0] ?? Buffer.alloc(16);
  return rootOf({ sizeBytes: bytes.length, topLevel, top: { id, address: undefined } }, hasher).toString('hex');
}
