import { RepositoryError } from './errors.ts';

/** Builds a little-endian record. */
export class ByteWriter {
  readonly #parts: Uint8Array[] = [];

  u8(value: number): this {
    return this.bytes(Uint8Array.of(value));
  }

  u16(value: number): this {
    const part = Buffer.alloc(2);
    part.writeUInt16LE(value);
    return this.bytes(part);
  }

  u32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    return this.bytes(part);
  }

  /** A whole number up to 2^53 in eight bytes. */
  u64(value: number): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    return this.bytes(part);
  }

  bytes(part: Uint8Array): this {
    this.#parts.push(part);
    return this;
  }

  /** Up to 65,535 bytes of UTF-8 after their length. */
  text(value: string): this {
    const part = Buffer.from(value, 'utf8');
    return this.u16(part.length).bytes(part);
  }

  build(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Reads a little-endian record. Whatever does not fit is `corrupted`: records are of our own making. */
export class ByteReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  get position(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  u64(): number {
    const value = this.#bytes.readBigUInt64LE(this.#take(8));
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.damaged('a number is too large');
    return Number(value);
  }

  /** A view into the record, not a copy. */
  bytes(length: number): Buffer {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  text(): string {
    return this.bytes(this.u16()).toString('utf8');
  }

  magic(expected: string): void {
    if (this.bytes(expected.length).toString('latin1') !== expected) throw this.damaged(`it does not begin with ${expected}`);
  }

  /** Refuses what a newer program wrote, which is not damage. */
  version(expected: number): void {
    const found = this.u8();
    if (found !== expected)
      throw new RepositoryError('unsupported', `${this.#what} has format version ${found}, this program reads ${expected}`);
  }

  end(): void {
    if (this.remaining !== 0) throw this.damaged('bytes are left over');
  }

  damaged(reason: string): RepositoryError {
    return new RepositoryError('corrupted', `${this.#what} is damaged: ${reason}`);
  }

  #take(length: number): number {
    const at = this.#at;
    if (length > this.remaining) throw this.damaged('it ends too early');
    this.#at += length;
    return at;
  }
}
