import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { StoreFullError } from '../stores/contract.ts';
import { openMemoryStore } from '../stores/memory/memory-store.ts';
import { CHUNK_BYTES, FRAME_BYTES_MAX, ID_BYTES, objectNames, packNameOf } from './format.ts';
import { createFrameCodec } from './frame-codec.ts';
import { FRAME_HEADER_BYTES, type FrameAddress, PACK_HEADER_BYTES, TRAILER_BYTES } from './pack-format.ts';
import { PackReader } from './pack-reader.ts';
import { PackWriter } from './pack-writer.ts';
import type { DomainKeys } from './repository.ts';

const keys: DomainKeys = { domain: 'project', idKey: randomBytes(32), sealKey: randomBytes(32), macKey: randomBytes(32) };
const session = randomBytes(16).toString('hex');
const name = packNameOf(session, 3);
const objectName = objectNames.pack(name);
const plains = [Buffer.alloc(FRAME_BYTES_MAX, 'text that repeats '), randomBytes(CHUNK_BYTES), Buffer.alloc(2 * CHUNK_BYTES, 7)];

async function writePack() {
  const store = openMemoryStore();
  const codec = createFrameCodec(FRAME_BYTES_MAX);
  const writer = await PackWriter.begin(store, { repositoryId: 'one', keys, name }, 'data', codec);
  const ids = plains.map((plain) => randomBytes((plain.length / CHUNK_BYTES) * ID_BYTES));
  const addresses = plains.map((plain, i) => writer.addFrame(plain, ids[i] as Buffer));
  const finished = await writer.finish();
  return { store, ids, addresses, finished, bytes: store.objects.get(objectName) as Buffer };
}

const readerOf = (store: ReturnType<typeof openMemoryStore>, repositoryId = 'one', domainKeys = keys) =>
  new PackReader(store, repositoryId, domainKeys);

describe('a pack', () => {
  it('returns every frame with its ids', async () => {
    const { store, ids, addresses, finished, bytes } = await writePack();
    expect(finished).toEqual({ name, kind: 'data', lengthBytes: bytes.length });
    const reader = readerOf(store);
    for (const [i, address] of addresses.entries()) {
      const frame = await reader.readFrame(address);
      expect(frame.plain.equals(plains[i] as Buffer)).toBe(true);
      expect(frame.ids.equals(ids[i] as Buffer)).toBe(true);
    }
  });

  it('lists its frames in its directory', async () => {
    const { store, ids, addresses } = await writePack();
    const { entries, lengthBytes } = await readerOf(store).readDirectory(name);
    expect(lengthBytes).toBe(store.objects.get(objectName)?.length);
    expect(entries.map(({ ids: entryIds, slots, ...place }) => ({ pack: name, ...place }))).toEqual(addresses);
    expect(entries.map((entry) => Buffer.from(entry.ids).equals(ids[entry.frame] as Buffer))).toEqual([true, true, true]);
  });

  it('shows nothing of the content, and differs each time it is written', async () => {
    const [first, second] = [await writePack(), await writePack()];
    expect(first.bytes.includes('text that repeats')).toBe(false);
    expect(first.bytes.subarray(PACK_HEADER_BYTES).equals(second.bytes.subarray(PACK_HEADER_BYTES))).toBe(false);
  });

  it('does not open under another key, in another repository, or under another name', async () => {
    const { store, addresses, bytes } = await writePack();
    const address = addresses[0] as FrameAddress;
    expect(() => readerOf(store, 'two').readFrame(address)).toThrow(/damaged/);
    expect(() => readerOf(store, 'one', { ...keys, sealKey: randomBytes(32) }).readFrame(address)).toThrow(/damaged/);
    const otherName = packNameOf(session, 4);
    store.objects.set(objectNames.pack(otherName), bytes);
    expect(() => readerOf(store).readFrame({ ...address, pack: otherName })).toThrow(/damaged/);
  });

  it('does not give out a frame in the place of another', async () => {
    const { store, addresses, bytes } = await writePack();
    const [first, second] = addresses as [FrameAddress, FrameAddress];
    expect(() => readerOf(store).readFrame({ ...second, frame: first.frame })).toThrow(/its header is wrong/);
    const swapped = Buffer.from(bytes);
    bytes.copy(swapped, second.offsetBytes + 4, first.offsetBytes + 4, first.offsetBytes + 8);
    store.objects.set(objectName, swapped);
    expect(() => readerOf(store).readFrame({ ...second, frame: first.frame })).toThrow(/not what was written/);
  });

  it('notices a changed byte anywhere in a frame, and only in that frame', async () => {
    const { store, addresses, bytes } = await writePack();
    const { offsetBytes, lengthBytes } = addresses[1] as FrameAddress;
    const places = [
      0,
      4,
      8,
      9,
      12,
      16,
      FRAME_HEADER_BYTES,
      FRAME_HEADER_BYTES + ID_BYTES,
      lengthBytes >> 1,
      lengthBytes - 16,
      lengthBytes - 1,
    ];
    for (const place of places) {
      const damaged = Buffer.from(bytes);
      damaged[offsetBytes + place] = (damaged[offsetBytes + place] as number) ^ 1;
      store.objects.set(objectName, damaged);
      const reader = readerOf(store);
      expect(() => reader.readFrame(addresses[1] as FrameAddress), `byte ${place}`).toThrow(
        expect.objectContaining({ kind: 'corrupted', objectName }),
      );
      expect((await reader.readFrame(addresses[0] as FrameAddress)).plain.length).toBe(FRAME_BYTES_MAX);
    }
  });

  it('notices a changed byte anywhere in header, directory and trailer', async () => {
    const { store, bytes } = await writePack();
    const directoryAt = bytes.readUInt32LE(bytes.length - TRAILER_BYTES + 4);
    const headerPlaces = [0, 5, 8, 20, 24, 28, 40, PACK_HEADER_BYTES - 1];
    const tailPlaces = [
      directoryAt,
      directoryAt + 20,
      bytes.length - TRAILER_BYTES - 1,
      bytes.length - TRAILER_BYTES,
      bytes.length - TRAILER_BYTES + 5,
    ];
    for (const place of [...headerPlaces, ...tailPlaces]) {
      const damaged = Buffer.from(bytes);
      damaged[place] = (damaged[place] as number) ^ 1;
      store.objects.set(objectName, damaged);
      await expect(readerOf(store).readDirectory(name), `byte ${place}`).rejects.toMatchObject({ kind: 'corrupted' });
    }
  });

  it('that cannot even get its header gives its file back', async () => {
    const store = openMemoryStore();
    let aborted = 0;
    const create = async () => ({
      append() {
        throw new StoreFullError('no room');
      },
      commit: async () => 'created' as const,
      abort: async () => {
        aborted += 1;
      },
    });
    const begun = PackWriter.begin({ ...store, create }, { repositoryId: 'one', keys, name }, 'data', createFrameCodec(FRAME_BYTES_MAX));
    await expect(begun).rejects.toMatchObject({ kind: 'full' });
    expect(aborted).toBe(1);
  });

  it('says missing when it is not there, corrupted when it ends too early, unsupported when it is newer', async () => {
    const { store, addresses, bytes } = await writePack();
    const address = addresses[2] as FrameAddress;
    store.objects.set(objectName, bytes.subarray(0, address.offsetBytes + 10));
    expect(() => readerOf(store).readFrame(address)).toThrow(expect.objectContaining({ kind: 'corrupted', objectName }));
    store.objects.delete(objectName);
    expect(() => readerOf(store).readFrame(address)).toThrow(expect.objectContaining({ kind: 'missing', objectName }));
    const newer = Buffer.from(bytes);
    newer[4] = 9;
    store.objects.set(objectName, newer);
    expect(() => readerOf(store).readFrame(address)).toThrow(expect.objectContaining({ kind: 'unsupported' }));
  });
});
