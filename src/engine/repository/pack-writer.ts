/**
 * Writes one pack. Frames go to the store as they come; nothing but their directory is kept. The pack exists once `finish` is done, and
 * never before: dying in between leaves nothing under its name.
 */
import { createCipheriv, randomBytes } from 'node:crypto';
import type { ObjectStore, ObjectWriter } from '../stores/contract.ts';
import { RepositoryError } from './errors.ts';
import { ID_BYTES, objectNames, PACK_FRAMES_MAX, PACK_TARGET_BYTES, type PackName } from './format.ts';
import type { FrameCodec } from './frame-codec.ts';
import { freeBuffer } from './free-buffer.ts';
import {
  type DirectoryEntry,
  directoryNonce,
  encodeDirectory,
  encodeFrameHeader,
  encodePackHeader,
  encodeTrailer,
  type FrameAddress,
  frameLengthOf,
  frameNonce,
  type PackKind,
  type PackPlace,
  type PackSeal,
  packSealOf,
} from './pack-format.ts';
import { CIPHER, KEY_BYTES } from './sealing.ts';
import { guarded, repositoryErrorOf } from './store-access.ts';

export interface FinishedPack {
  readonly name: PackName;
  readonly kind: PackKind;
  readonly lengthBytes: number;
}

export class PackWriter {
  readonly name: PackName;
  readonly kind: PackKind;
  readonly #writer: ObjectWriter;
  readonly #codec: FrameCodec;
  readonly #seal: PackSeal;
  readonly #entries: DirectoryEntry[] = [];
  #lengthBytes = 0;
  #pending: Promise<void> | undefined;

  private constructor(name: PackName, kind: PackKind, writer: ObjectWriter, codec: FrameCodec, seal: PackSeal) {
    this.name = name;
    this.kind = kind;
    this.#writer = writer;
    this.#codec = codec;
    this.#seal = seal;
  }

  static async begin(store: ObjectStore, place: PackPlace, kind: PackKind, codec: FrameCodec): Promise<PackWriter> {
    const packKey = randomBytes(KEY_BYTES);
    const objectName = objectNames.pack(place.name);
    const writer = await guarded(objectName, async () => store.create(objectName));
    const pack = new PackWriter(place.name, kind, writer, codec, packSealOf(place, kind, packKey));
    try {
      pack.#append([encodePackHeader(place, kind, packKey)]);
    } catch (error) {
      // Nobody else knows of this pack yet: on a full disk its empty file would stay.
      await writer.abort();
      throw error;
    }
    return pack;
  }

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  /** What the pack holds so far: offsets, lengths and ids, in the order of frames. */
  get entries(): readonly DirectoryEntry[] {
    return this.#entries;
  }

  /** Whether the pack is long enough, or could run out of frame numbers with another `frames` frames. */
  isFull(frames: number): boolean {
    return this.#lengthBytes >= PACK_TARGET_BYTES || this.#entries.length + frames > PACK_FRAMES_MAX;
  }

  /** Adds a frame of `plain`, whose slots have the given ids. `plain` may be overwritten afterwards. */
  addFrame(plain: Uint8Array, ids: Uint8Array): FrameAddress {
    const { codec, bytes } = this.#codec.compress(plain);
    const frame = this.#entries.length;
    const slots = ids.byteLength / ID_BYTES;
    const header = encodeFrameHeader({ frame, codec, slots, plainBytes: plain.byteLength, cipherBytes: bytes.byteLength }, ids);
    const cipher = createCipheriv(CIPHER, this.#seal.key, frameNonce(frame));
    cipher.setAAD(Buffer.concat([this.#seal.bound, header]));
    const ciphertext = cipher.update(bytes);
    cipher.final();
    const offsetBytes = this.#lengthBytes;
    const lengthBytes = frameLengthOf({ slots, cipherBytes: bytes.byteLength });
    this.#entries.push({ frame, offsetBytes, lengthBytes, slots, ids: header.subarray(header.length - ids.byteLength) });
    this.#append([header, ciphertext, cipher.getAuthTag()]);
    if (this.#pending === undefined) freeBuffer(ciphertext);
    return { pack: this.name, frame, offsetBytes, lengthBytes };
  }

  /** Resolves when a slow store has taken what was added. Rejects when it could not. */
  async drained(): Promise<void> {
    await this.#pending;
  }

  /** Writes the directory and publishes the pack. Resolves when it is durable. */
  async finish(): Promise<FinishedPack> {
    const directory = this.#sealDirectory();
    const directoryOffsetBytes = this.#lengthBytes;
    this.#append([directory, encodeTrailer({ directoryOffsetBytes, directoryBytes: directory.length, frameCount: this.#entries.length })]);
    const objectName = objectNames.pack(this.name);
    return guarded(objectName, async () => {
      await this.#pending;
      const result = await this.#writer.commit();
      if (result === 'exists') throw new RepositoryError('conflict', `the pack ${this.name} was written by somebody else`, { objectName });
      return { name: this.name, kind: this.kind, lengthBytes: this.#lengthBytes };
    });
  }

  async abort(): Promise<void> {
    await this.#pending?.catch(() => {});
    await this.#writer.abort();
  }

  #sealDirectory(): Buffer {
    const cipher = createCipheriv(CIPHER, this.#seal.key, directoryNonce());
    cipher.setAAD(Buffer.concat([this.#seal.bound, Buffer.from('directory')]));
    return Buffer.concat([cipher.update(encodeDirectory(this.#entries)), cipher.final(), cipher.getAuthTag()]);
  }

  #append(parts: readonly Uint8Array[]): void {
    for (const part of parts) this.#lengthBytes += part.byteLength;
    if (this.#pending !== undefined) {
      this.#pending = this.#pending.then(() => this.#writer.append(parts));
      this.#pending.catch(() => {});
      return;
    }
    try {
      const answer = this.#writer.append(parts);
      if (!(answer instanceof Promise)) return;
      this.#pending = answer;
      // Reported by `drained` and `finish`.
      this.#pending.catch(() => {});
    } catch (error) {
      throw repositoryErrorOf(error, objectNames.pack(this.name));
    }
  }
}
