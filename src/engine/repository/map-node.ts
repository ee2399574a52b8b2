/**
 * A node of the disk map: 128 entries, each an id and where its bytes lie. In a leaf (level 0) an entry is a chunk, in an inner node it
 * is a node one level below.
 *
 * A node's own id is made from level and entry ids alone, never from locations: equal content has equal ids wherever it is stored. An
 * entry of zeroes has the all-zero id and no location; a node of nothing else is itself a hole and is not stored. Entries beyond the end
 * of the disk are holes too, so a disk that grows keeps its nodes.
 */
import { ByteReader, ByteWriter } from './binary.ts';
import { type IdHasher, isHoleId, isSameId } from './chunk-id.ts';
import { decodePackName, encodePackName, FAN_OUT, ID_BYTES, PACK_NAME_BYTES, type PackName } from './format.ts';
import type { FrameAddress } from './pack-format.ts';

const BITMAP_BYTES = FAN_OUT / 8;
const IDS_BYTES = FAN_OUT * ID_BYTES;
const hashPrefix = Buffer.from('stillpoint node', 'latin1');
const noPack = 0xffff;

export class MapNode {
  readonly level: number;
  readonly ids: Buffer = Buffer.alloc(IDS_BYTES);
  readonly #packs: PackName[] = [];
  readonly #packOf = new Uint16Array(FAN_OUT).fill(noPack);
  readonly #frameOf = new Uint16Array(FAN_OUT);
  readonly #slotOf = new Uint8Array(FAN_OUT);
  readonly #offsetOf = new Uint32Array(FAN_OUT);
  readonly #lengthOf = new Uint32Array(FAN_OUT);

  constructor(level: number) {
    this.level = level;
  }

  isHole(index: number): boolean {
    return isHoleId(this.ids, index * ID_BYTES);
  }

  isAllHoles(): boolean {
    return this.ids.every((byte) => byte === 0);
  }

  hasId(index: number, ids: Uint8Array, offset = 0): boolean {
    return isSameId(this.ids, index * ID_BYTES, ids, offset);
  }

  idOf(index: number): Buffer {
    return this.ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES);
  }

  packOf(index: number): PackName | undefined {
    return this.#packs[this.#packOf[index] as number];
  }

  slotOf(index: number): number {
    return this.#slotOf[index] as number;
  }

  /** Undefined for a hole. */
  addressOf(index: number): FrameAddress | undefined {
    const pack = this.packOf(index);
    if (pack === undefined) return undefined;
    return {
      pack,
      frame: this.#frameOf[index] as number,
      offsetBytes: this.#offsetOf[index] as number,
      lengthBytes: this.#lengthOf[index] as number,
    };
  }

  setHole(index: number): void {
    this.ids.fill(0, index * ID_BYTES, (index + 1) * ID_BYTES);
    this.#packOf[index] = noPack;
  }

  set(index: number, ids: Uint8Array, idOffset: number, address: FrameAddress, slot: number): void {
    this.ids.set(ids.subarray(idOffset, idOffset + ID_BYTES), index * ID_BYTES);
    this.#packOf[index] = this.#packIndexOf(address.pack);
    this.#frameOf[index] = address.frame;
    this.#slotOf[index] = slot;
    this.#offsetOf[index] = address.offsetBytes;
    this.#lengthOf[index] = address.lengthBytes;
  }

  copy(): MapNode {
    const copy = new MapNode(this.level);
    for (let index = 0; index < FAN_OUT; index += 1) {
      const address = this.addressOf(index);
      if (address !== undefined) copy.set(index, this.ids, index * ID_BYTES, address, this.slotOf(index));
    }
    return copy;
  }

  id(hasher: IdHasher): Buffer {
    return this.isAllHoles() ? Buffer.alloc(ID_BYTES) : hasher.idOf(Buffer.concat([hashPrefix, Uint8Array.of(this.level), this.ids]));
  }

  encode(): Buffer {
    const bitmap = Buffer.alloc(BITMAP_BYTES);
    const ids: Uint8Array[] = [];
    const packs = new NumberedList<PackName>();
    const frames = new NumberedList<string>();
    const frameRecords = new ByteWriter();
    const places: number[] = [];
    for (let index = 0; index < FAN_OUT; index += 1) {
      const address = this.addressOf(index);
      if (address === undefined) continue;
      bitmap[index >> 3] = (bitmap[index >> 3] as number) | (1 << (index & 7));
      ids.push(this.idOf(index));
      const pack = packs.numberOf(address.pack);
      const known = frames.count;
      const frame = frames.numberOf(`${pack}/${address.frame}`);
      if (frame === known) frameRecords.u8(pack).u16(address.frame).u32(address.offsetBytes).u32(address.lengthBytes);
      places.push(frame, this.slotOf(index));
    }
    const writer = new ByteWriter().u8(this.level).u8(packs.count).u8(frames.count).u8(0).bytes(bitmap);
    for (const id of ids) writer.bytes(id);
    for (const pack of packs.values) writer.bytes(encodePackName(pack));
    return writer.bytes(frameRecords.build()).bytes(Uint8Array.from(places)).build();
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

  #packIndexOf(pack: PackName): number {
    const known = this.#packs.lastIndexOf(pack);
    return known >= 0 ? known : this.#packs.push(pack) - 1;
  }
}

function readFrameRecord(reader: ByteReader, packs: readonly PackName[]): FrameAddress {
  const pack = packs[reader.u8()];
  if (pack === undefined) throw reader.damaged('a pack is not in its table');
  return { pack, frame: reader.u16(), offsetBytes: reader.u32(), lengthBytes: reader.u32() };
}

/** Values numbered in the order in which they first came. */
class NumberedList<T> {
  readonly #numbers = new Map<T, number>();

  get count(): number {
    return this.#numbers.size;
  }

  get values(): Iterable<T> {
    return this.#numbers.keys();
  }

  numberOf(value: T): number {
    const known = this.#numbers.get(value);
    if (known !== undefined) return known;
    this.#numbers.set(value, this.#numbers.size);
    return this.#numbers.size - 1;
  }
}
