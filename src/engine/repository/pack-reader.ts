/**
 * Reads frames of packs. Every answer has passed the pack's tag; anything else is `corrupted` (or `missing`) and names the pack.
 * What the ids promise is checked by the caller, who knows which ids it wants.
 */
import { createDecipheriv } from 'node:crypto';
import type { MaybePromise, ObjectStore } from '../stores/contract.ts';
import { RepositoryError } from './errors.ts';
import { FRAME_BYTES_MAX, ID_BYTES, objectNames, type PackName } from './format.ts';
import { CODEC_RAW, createFrameCodec, type FrameCodec } from './frame-codec.ts';
import { freeBuffer } from './free-buffer.ts';
import {
  type DirectoryEntry,
  decodeDirectory,
  decodeFrameHeader,
  decodeTrailer,
  directoryNonce,
  FRAME_HEADER_BYTES,
  type FrameAddress,
  frameNonce,
  openPackHeader,
  PACK_HEADER_BYTES,
  type PackSeal,
  TRAILER_BYTES,
} from './pack-format.ts';
import type { DomainKeys } from './repository.ts';
import { CIPHER, TAG_BYTES } from './sealing.ts';
import { guarded, readObject, readObjectInto } from './store-access.ts';

/** Opened pack keys that are kept. */
const OPEN_PACKS_MAX = 1024;

export interface OpenedFrame {
  /** Valid until the next frame is opened. */
  readonly plain: Buffer;
  /** The ids of the slots, one after the other. */
  readonly ids: Buffer;
}

export class PackReader {
  readonly #store: ObjectStore;
  readonly #repositoryId: string;
  readonly #keys: DomainKeys;
  readonly #codec: FrameCodec;
  readonly #seals = new Map<PackName, PackSeal>();
  #lastRaw: Buffer | undefined;

  constructor(store: ObjectStore, repositoryId: string, keys: DomainKeys, codec: FrameCodec = createFrameCodec(FRAME_BYTES_MAX)) {
    this.#store = store;
    this.#repositoryId = repositoryId;
    this.#keys = keys;
    this.#codec = codec;
  }

  /** Reads and opens one frame. */
  readFrame(address: FrameAddress): MaybePromise<OpenedFrame> {
    const seal = this.sealOf(address.pack);
    const bytes = readObject(this.#store, objectNames.pack(address.pack), address.offsetBytes, address.lengthBytes);
    if (seal instanceof Promise || bytes instanceof Promise) {
      return Promise.all([seal, bytes]).then(([readySeal, readyBytes]) => this.openFrame(address, readySeal, readyBytes));
    }
    return this.openFrame(address, seal, bytes);
  }

  /** Fills `target` with a stretch of a pack, for several frames that lie side by side. */
  readStretch(pack: PackName, offsetBytes: number, target: Buffer): MaybePromise<Buffer> {
    return readObjectInto(this.#store, objectNames.pack(pack), offsetBytes, target);
  }

  /** The key of a pack, from its header. */
  sealOf(pack: PackName): MaybePromise<PackSeal> {
    const known = this.#seals.get(pack);
    if (known !== undefined) return known;
    const header = readObject(this.#store, objectNames.pack(pack), 0, PACK_HEADER_BYTES);
    const open = (bytes: Buffer): PackSeal => {
      const seal = openPackHeader({ repositoryId: this.#repositoryId, keys: this.#keys, name: pack }, bytes);
      const oldest = this.#seals.size < OPEN_PACKS_MAX ? undefined : this.#seals.keys().next().value;
      if (oldest !== undefined) this.#seals.delete(oldest);
      this.#seals.set(pack, seal);
      return seal;
    };
    return header instanceof Promise ? header.then(open) : open(header);
  }

  /** Opens the bytes of one frame: checks its place and its tag, decrypts, decompresses. */
  openFrame(address: FrameAddress, seal: PackSeal, bytes: Buffer): OpenedFrame {
    if (this.#lastRaw !== undefined) freeBuffer(this.#lastRaw);
    this.#lastRaw = undefined;
    const header = decodeFrameHeader(bytes, FRAME_BYTES_MAX);
    if (header === undefined || header.frame !== address.frame) throw damagedFrame(address, 'its header is wrong');
    const headerBytes = FRAME_HEADER_BYTES + header.slots * ID_BYTES;
    const decipher = createDecipheriv(CIPHER, seal.key, frameNonce(header.frame));
    decipher.setAAD(Buffer.concat([seal.bound, bytes.subarray(0, headerBytes)]));
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
    const packed = decipher.update(bytes.subarray(headerBytes, bytes.length - TAG_BYTES));
    try {
      decipher.final();
    } catch {
      throw damagedFrame(address, 'it is not what was written');
    }
    const plain = this.#codec.decompress(header.codec, packed, header.plainBytes);
    // A raw frame is its own plain text: it goes when the next frame comes.
    if (header.codec === CODEC_RAW) this.#lastRaw = packed;
    else freeBuffer(packed);
    if (plain === undefined) throw damagedFrame(address, 'it cannot be decompressed');
    return { plain, ids: bytes.subarray(FRAME_HEADER_BYTES, headerBytes) };
  }

  /** All frames of a pack, from its directory. */
  async readDirectory(pack: PackName): Promise<{ readonly entries: DirectoryEntry[]; readonly lengthBytes: number }> {
    const objectName = objectNames.pack(pack);
    const lengthBytes = await guarded(objectName, async () => this.#store.length(objectName));
    if (lengthBytes === undefined) throw new RepositoryError('missing', `the object ${objectName} is missing`, { objectName });
    if (lengthBytes < PACK_HEADER_BYTES + TRAILER_BYTES) throw damagedDirectory(objectName);
    const trailer = decodeTrailer(await readObject(this.#store, objectName, lengthBytes - TRAILER_BYTES, TRAILER_BYTES), objectName);
    if (trailer.directoryOffsetBytes + trailer.directoryBytes !== lengthBytes - TRAILER_BYTES) throw damagedDirectory(objectName);
    const sealed = await readObject(this.#store, objectName, trailer.directoryOffsetBytes, trailer.directoryBytes);
    const seal = await this.sealOf(pack);
    const decipher = createDecipheriv(CIPHER, seal.key, directoryNonce());
    decipher.setAAD(Buffer.concat([seal.bound, Buffer.from('directory')]));
    if (sealed.length < TAG_BYTES) throw damagedDirectory(objectName);
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
    try {
      decipher.final();
    } catch {
      throw damagedDirectory(objectName);
    }
    return { entries: decodeDirectory(plain, objectName), lengthBytes };
  }
}

function damagedFrame(address: FrameAddress, reason: string): RepositoryError {
  const objectName = objectNames.pack(address.pack);
  const place = `${objectName} at ${address.offsetBytes}`;
  return new RepositoryError('corrupted', `frame ${address.frame} of ${place} is damaged: ${reason}`, { objectName });
}

const damagedDirectory = (objectName: string): RepositoryError =>
  new RepositoryError('corrupted', `the directory of ${objectName} is damaged`, { objectName });
