/** A client of a volume: writes as a history says, and tells the model of each write before it is sent. */
import { type NbdClient, NbdError } from '../support/nbd-client.ts';
import { type ContentsBuilder, stamped } from './contents.ts';
import { Found, type VolumeModel } from './model.ts';
import type { WritePlan } from './steps.ts';

/** Small enough that holes are found, large enough that a disk takes few requests. */
const readBytes = 4 << 20;
const readsInFlight = 8;

/** Reads the whole disk. */
export async function fillFrom(builder: ContentsBuilder, client: NbdClient): Promise<void> {
  let next = 0;
  const readOn = async (): Promise<void> => {
    while (next < client.sizeBytes) {
      const at = next;
      next += readBytes;
      const bytes = await client.readUnlessHole(at, Math.min(readBytes, client.sizeBytes - at));
      if (bytes !== undefined) builder.add(at, bytes);
    }
  };
  await Promise.all(Array.from({ length: readsInFlight }, readOn));
}

/** One after the other, each answered before the next is sent. */
export async function performWrites(volume: VolumeModel, writes: readonly WritePlan[]): Promise<void> {
  const { client } = volume;
  if (client === undefined) return;
  try {
    for (const one of writes) await performOne(volume, client, one);
  } catch (error) {
    // Whoever killed the server knows; anybody else is told.
    if (!isDisconnected(error)) throw error;
    if (volume.client !== undefined) volume.lose();
  }
}

const isDisconnected = (error: unknown): boolean => error instanceof NbdError && error.errno === 0;

async function performOne(volume: VolumeModel, client: NbdClient, { n, how, at, length }: WritePlan): Promise<void> {
  if (how === 'flush') {
    await client.flush();
    volume.flushed();
    return;
  }
  const bytes = Math.min(length, volume.sizeBytes - at);
  if (bytes <= 0) return;
  if (how === 'trim') return await trim(volume, client, at, bytes);
  if (how === 'data' || how === 'durable') {
    const data = stamped(n, at, bytes);
    volume.issue(volume.contents.with(at, data));
    await client.write(at, data, { durable: how === 'durable' });
    // QEMU makes such a write of a write and a flush of everything.
    if (how === 'durable') volume.flushed();
    return;
  }
  volume.issue(volume.contents.withZeroes(at, bytes));
  await client.zero(at, bytes, { keepSpace: how === 'zero' });
}

/** What is trimmed may keep its bytes or read as zeroes, sector by sector; nothing else, and from then on always the same. */
async function trim(volume: VolumeModel, client: NbdClient, at: number, length: number): Promise<void> {
  const before = volume.contents;
  const zeroed = before.withZeroes(at, length);
  volume.issue(zeroed);
  await client.trim(at, length);
  const now = before.with(at, await client.read(at, length));
  for (const sector of now.differences(zeroed)) {
    if (now.sector(sector).equals(before.sector(sector))) continue;
    throw new Found(`${volume.name}: trimming ${at}+${length} brought other bytes into sector ${sector}`);
  }
  volume.issue(now);
}

/** The same while a moment of the disk is being made, which may be any from now on. */
export function beginWindow(volume: VolumeModel, writes: readonly WritePlan[]): Promise<void> {
  // Several moments may be made at once: each is one of those since the first of them was begun.
  volume.window ??= [volume.contents];
  return performWrites(volume, writes);
}
