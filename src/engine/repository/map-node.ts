/**
 * A node of the disk map: 128 entries, each an id and where its bytes lie. In a leaf (level 0) an entry is a chunk, in an inner node it
 * is a node one level below.
 *
 * A node's own id is made from level and entry ids alone, never from locations: equal content has equal ids wherever it is stored. An
 * entry of zeroes has the all-zero id and no location; a node of nothing else is itself a hole and is not stored. Entries beyond the end
 * of the disk are holes too, so a disk that grows keeps its nodes.
 */
import { ByteReader } from './binary.ts';
import { type IdHasher, isHoleId, isSameId } from './chunk-id.ts';
import { decodePackName, encodePackName, FAN_OUT, ID_BYTES, PACK_NAME_BYTES, type PackName } from './format.ts';
import type { FrameAddress } from './pack-format.ts';

const BITMAP_BYTES = FAN_OUT / 8;
const IDS_BYTES = FAN_OUT * ID_BYTES;
const hashPrefix = Buffer.from('stillpoint node', 'latin1');
const noIds = Buffer.alloc(IDS_BYTES);
const FRAME_NUMBERS = 0x10000;
/** Pack, number, offset, length. */
const FRAME_RECORD_BYTES = 1 + 2 + 4 + 4;

/** Where an entry's bytes lie, as five numbers in one row: tens of thousands of nodes pass through a backup. */
const ROW = 5;
const PACK = 0;
const FRAME = 1;
const SLOT = 2;
const OFFSET = 3;
const LENGTH = 4;

export class MapNode {
  readonly level: number;
  readonly ids: Buffer = Buffer.alloc(IDS_BYTES);
  readonly #packs: PackName[];
  /** Packs by their place in `#packs`, plus one: 0 is a hole. */
  readonly #rows: Uint32Array;

  constructor(level: number, packs: PackName[] = [], rows: Uint32Array = new Uint32Array(FAN_OUT * ROW)) {
    this.level = level;
    this.#packs = packs;
    this.#rows = rows;
  }

  isHole(index: number): boolean {
    return isHoleId(this.ids, index * ID_BYTES);
  }

  isAllHoles(): boolean {
    return this.ids.equals(noIds);
  }

  hasId(index: number, ids: Uint8Array, offset = 0): boolean {
    return isSameId(this.ids, index * ID_BYTES, ids, offset);
  }

  idOf(index: number): Buffer {
    return this.ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES);
  }

  packOf(index: number): PackName | undefined {
    const pack = this.#rows[index * ROW + PACK] as number;
    return pack === 0 ? undefined : this.#packs[pack - 1];
  }

  slotOf(index: number): number {
    return this.#rows[index * ROW + SLOT] as number;
  }

  /** Undefined for a hole. */
  addressOf(index: number): FrameAddress | undefined {
    const pack = this.packOf(index);
    if (pack === undefined) return undefined;
    const row = index * ROW;
    return {
      pack,
      frame: this.#rows[row + FRAME] as number,
      offsetBytes: this.#rows[row + OFFSET] as number,
      lengthBytes: this.#rows[row + LENGTH] as number,
    };
  }

  setHole(index: number): void {
    this.ids.fill(0, index * ID_BYTES, (index + 1) * ID_BYTES);
    this.#rows[index * ROW + PACK] = 0;
  }

  set(index: number, ids: Uint8Array, idOffset: number, address: FrameAddress, slot: number): void {
    const row = index * ROW;
    for (let i = 0; i < ID_BYTES; i += 1) this.ids[index * ID_BYTES + i] = ids[idOffset + i] as number;
    this.#rows[row + PACK] = this.#packNumberOf(address.pack);
    this.#rows[row + FRAME] = address.frame;
    this.#rows[row + SLOT] = slot;
    this.#rows[row + OFFSET] = address.offsetBytes;
    this.#rows[row + LENGTH] = address.lengthBytes;
  }

  copy(): MapNode {
    const copy = new MapNode(this.level, [...this.#packs], this.#rows.slice());
    copy.ids.set(this.ids);
    return copy;
  }

  id(hasher: IdHasher): Buffer {
    return this.isAllHoles() ? Buffer.alloc(ID_BYTES) : hasher.idOf(Buffer.concat([hashPrefix, Uint8Array.of(this.level), this.ids]));
  }

  encode(): Buffer {
    const bitmap = Buffer.alloc(BITMAP_BYTES);
    const packs = new NumberedList();
    const frames = new NumberedList();
    /** An entry of each frame, in the order of the frame table. */
    const firstEntries: number[] = [];
    const places: number[] = [];
    const ids: Uint8Array[] = [];
    for (let index = 0; index < FAN_OUT; index += 1) {
      const pack = this.#rows[index * ROW + PACK] as number;
      if (pack === 0) continue;
      bitmap[index >> 3] = (bitmap[index >> 3] as number) | (1 << (index & 7));
      ids.push(this.idOf(index));
      const frame = frames.numberOf(packs.numberOf(pack) * FRAME_NUMBERS + (this.#rows[index * ROW + FRAME] as number));
      if (frame === firstEntries.length) firstEntries.push(index);
      places.push(frame, this.slotOf(index));
    }
    const packBytes = [...packs.values].map((pack) => encodePackName(this.#packs[pack - 1] as PackName));
    const counts = Uint8Array.of(this.level, packBytes.length, firstEntries.length, 0);
    const frameBytes = Buffer.allocUnsafe(firstEntries.length * FRAME_RECORD_BYTES);
    for (const [i, index] of firstEntries.entries()) this.#writeFrameRecord(frameBytes, i * FRAME_RECORD_BYTES, index, packs);
    return Buffer.concat([counts, bitmap, ...ids, ...packBytes, frameBytes, Uint8Array.from(places)]);
  }

  #writeFrameRecord(target: Buffer, at: number, index: number, packs: NumberedList): void {
    const row = index * ROW;
    target.writeUInt8(packs.numberOf(this.#rows[row + PACK] as number), at);
    target.writeUInt16LE(this.#rows[row + FRAME] as number, at + 1);
    target.writeUInt32LE(this.#rows[row + OFFSET] as number, at + 3);
    target.writeUInt32LE(this.#rows[row + LENGTH] as number, at + 7);
  }

  static decode(bytes: Buffer, level: number, what: string): MapNode {
    const reader = new ByteReader(bytes, what);
    if (reader.u8() !== level) throw reader.damaged('it is of another level');
    const packCount = reader.u8();
    const frameCount = reader.u8();
    reader.u8();
    const bitmap = reader.bytes(BITMAP_BYTES);
    const used: number[] = [];
    for (let index = 0; index < FAN_OUT; index += 1) {
      if (((bitmap[index >> 3] as number) >> (index & 7)) & 1) used.push(index);
    }
    const ids = reader.bytes(used.length * ID_BYTES);
    const packBytes = reader.bytes(packCount * PACK_NAME_BYTES);
    const packs = Array.from({ length: packCount }, (_, i) => decodePackName(packBytes, i * PACK_NAME_BYTES));
    const frames = Array.from({ length: frameCount }, () => readFrameRecord(reader, packs));
    const node = new MapNode(level);
    used.forEach((index, position) => {
      const address = frames[reader.u8()];
      if (address === undefined) throw reader.damaged('a frame is not in its table');
      node.set(index, ids, position * ID_BYTES, address, reader.u8());
    });
    reader.end();
    return node;
  }

  #packNumberOf(pack: PackName): number {
    const known = this.#packs.lastIndexOf(pack);
    return (known >= 0 ? known : this.#packs.push(pack) - 1) + 1;
  }
}

function readFrameRecord(reader: ByteReader, packs: readonly PackName[]): FrameAddress {
  const pack = packs[reader.u8()];
  if (pack === undefined) throw reader.damaged('a pack is not in its table');
  return { pack, frame: reader.u16(), offsetBytes: reader.u32(), lengthBytes: reader.u32() };
}

/** Numbers numbered in the order in which they first came. */
class NumberedList {
  readonly #numbers = new Map<number, number>();

  get values(): Iterable<number> {
    return this.#numbers.keys();
  }

  numberOf(value: number): number {
    const known = this.#numbers.get(value);
    if (known !== undefined) return known;
    this.#numbers.set(value, this.#numbers.size);
    return this.#numbers.size - 1;
  }
}
