import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { cutFile, flipByte, makePlace, openPlace, orderOf, TestDisk, textBytes, uncancelled } from '../../../test/support/repository.ts';
import { silentLog } from '../../lib/log.ts';
import { readCommit } from '../repository/commit.ts';
import { childOf } from '../repository/disk-map.ts';
import type { RepositoryError } from '../repository/errors.ts';
import { CHUNK_BYTES, FAN_OUT, LEAF_BYTES, objectNames } from '../repository/format.ts';
import type { FrameAddress } from '../repository/pack-format.ts';
import type { BackupOutcome } from './contract.ts';
import { toolsOf } from './domain-access.ts';
import { createLocalMover, type LocalMover } from './local-mover.ts';

const MIB = 1024 * 1024;
const sizeBytes = 24 * MIB + 1000;
const place = makePlace();
const { repository, folder } = place;
const targetPath = join(folder, 'target.raw');
const disk = new TestDisk(join(folder, 'disk.raw'), sizeBytes);
let mover: LocalMover;
let backup: BackupOutcome;
let chunks: Map<number, FrameAddress>;
let leaves: Map<number, FrameAddress>;
let top: FrameAddress;

/** Random content, text, a hole, and a last chunk that is cut by the end of the disk. */
beforeAll(async () => {
  mover = createLocalMover({ workerCount: 2, now: () => new Date(), log: silentLog });
  await mover.initRepository(repository);
  disk.write(0, randomBytes(6 * MIB));
  disk.write(9 * MIB, textBytes(9 * MIB, 1));
  disk.write(20 * MIB, randomBytes(4 * MIB + 1000));
  backup = await mover.backup(orderOf(repository, disk), uncancelled);
  await mover.settled();
  ({ chunks, leaves, top } = await readMap());
});
afterAll(async () => {
  await mover.stop();
  place.remove();
});

/** Where each chunk, each leaf and the top node of the backup lie. */
async function readMap() {
  const opened = await openPlace(repository);
  const keys = await opened.createDomain('project');
  const tools = toolsOf(opened.store, opened.id, keys);
  const found = await readCommit(opened, keys, backup.session);
  if (found?.kind !== 'commit' || found.commit.map.top.address === undefined) throw new Error('no commit');
  const chunksFound = new Map<number, FrameAddress>();
  const leavesFound = new Map<number, FrameAddress>();
  const topNode = await tools.nodes.read(found.commit.map.top, 1);
  for (let leaf = 0; leaf < FAN_OUT; leaf += 1) {
    const address = topNode.addressOf(leaf);
    if (address === undefined) continue;
    leavesFound.set(leaf, address);
    const node = await tools.nodes.read(childOf(topNode, leaf), 0);
    for (let index = 0; index < FAN_OUT; index += 1) {
      const chunk = node.addressOf(index);
      if (chunk !== undefined) chunksFound.set(leaf * FAN_OUT + index, chunk);
    }
  }
  opened.store.close();
  return { chunks: chunksFound, leaves: leavesFound, top: found.commit.map.top.address };
}

const pathOf = (pack: string): string => join(repository.store.path, objectNames.pack(pack));

/** Damages one object, restores, and puts the object back. */
async function restoreWith(path: string, damage: () => void): Promise<RepositoryError> {
  copyFileSync(path, join(folder, 'kept'));
  damage();
  try {
    const order = { repository, domain: 'project', session: backup.session, targetPath, targetSizeBytes: sizeBytes };
    await mover.restore(order, uncancelled);
    throw new Error('the restore succeeded');
  } catch (error) {
    return error as RepositoryError;
  } finally {
    rmSync(path, { recursive: true, force: true });
    copyFileSync(join(folder, 'kept'), path);
  }
}

/** The ranges of the chunks that are made of a frame, joined. */
function rangesOf(isLost: (address: FrameAddress, chunk: number) => boolean) {
  const ranges: { offsetBytes: number; lengthBytes: number }[] = [];
  for (const [chunk, address] of [...chunks].sort(([a], [b]) => a - b)) {
    if (!isLost(address, chunk)) continue;
    const offsetBytes = chunk * CHUNK_BYTES;
    const lengthBytes = Math.min(CHUNK_BYTES, sizeBytes - offsetBytes);
    const last = ranges.at(-1);
    if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes) last.lengthBytes += lengthBytes;
    else ranges.push({ offsetBytes, lengthBytes });
  }
  return ranges;
}

afterEach(() => expect(existsSync(targetPath)).toBe(false));

describe('a restore from a damaged pack', () => {
  it.each(['magic', 'number', 'id', 'content', 'tag'])('names the exact range when the %s of a frame changed', async (part) => {
    for (const chunk of [5, 200, 383]) {
      const address = chunks.get(chunk) as FrameAddress;
      const place = { magic: 0, number: 4, id: 20, content: address.lengthBytes >> 1, tag: address.lengthBytes - 1 }[part] as number;
      const error = await restoreWith(pathOf(address.pack), () => flipByte(pathOf(address.pack), address.offsetBytes + place));
      expect(error).toMatchObject({ kind: 'corrupted', objectName: objectNames.pack(address.pack) });
      expect(error.ranges).toEqual(rangesOf((other) => other.pack === address.pack && other.frame === address.frame));
      expect(error.message).toContain(`${error.ranges[0]?.offsetBytes}`);
    }
  });

  it('names everything in the pack when its header changed', async () => {
    const { pack } = chunks.get(5) as FrameAddress;
    const error = await restoreWith(pathOf(pack), () => flipByte(pathOf(pack), 40));
    expect(error.kind).toBe('corrupted');
    expect(error.ranges).toEqual(rangesOf((address) => address.pack === pack));
  });

  it('names what lay behind the cut when the pack is too short', async () => {
    const { pack } = chunks.get(5) as FrameAddress;
    const inPack = [...chunks.values()].filter((address) => address.pack === pack).sort((a, b) => a.offsetBytes - b.offsetBytes);
    const middle = inPack[inPack.length >> 1] as FrameAddress;
    const error = await restoreWith(pathOf(pack), () => cutFile(pathOf(pack), middle.offsetBytes + 30));
    expect(error.kind).toBe('corrupted');
    expect(error.ranges).toEqual(rangesOf((address) => address.pack === pack && address.offsetBytes >= middle.offsetBytes));
  });

  it('says missing, with all its ranges, when the pack is gone', async () => {
    const { pack } = chunks.get(5) as FrameAddress;
    const error = await restoreWith(pathOf(pack), () => rmSync(pathOf(pack)));
    expect(error).toMatchObject({ kind: 'missing', objectName: objectNames.pack(pack) });
    expect(error.ranges).toEqual(rangesOf((address) => address.pack === pack));
  });

  it('does not need the directory and the trailer', async () => {
    const { pack } = chunks.get(5) as FrameAddress;
    const error = await restoreWith(pathOf(pack), () => flipByte(pathOf(pack), -5));
    expect(error.message).toBe('the restore succeeded');
    rmSync(targetPath);
  });
});

describe('a restore with a damaged map', () => {
  it('names the range of a leaf', async () => {
    const address = leaves.get(2) as FrameAddress;
    const error = await restoreWith(pathOf(address.pack), () => flipByte(pathOf(address.pack), address.offsetBytes + 60));
    expect(error).toMatchObject({ kind: 'corrupted', objectName: objectNames.pack(address.pack) });
    expect(error.ranges).toEqual([{ offsetBytes: 2 * LEAF_BYTES, lengthBytes: LEAF_BYTES }]);
    const cut = leaves.get(3) as FrameAddress;
    const atEnd = await restoreWith(pathOf(cut.pack), () => flipByte(pathOf(cut.pack), cut.offsetBytes + 60));
    expect(atEnd.ranges).toEqual([{ offsetBytes: 3 * LEAF_BYTES, lengthBytes: sizeBytes - 3 * LEAF_BYTES }]);
  });

  it('names the whole disk when the top node is gone', async () => {
    const error = await restoreWith(pathOf(top.pack), () => flipByte(pathOf(top.pack), top.offsetBytes + 60));
    expect(error.ranges).toEqual([{ offsetBytes: 0, lengthBytes: sizeBytes }]);
  });

  it('names the commit when that is what changed', async () => {
    const path = join(repository.store.path, objectNames.commit(backup.session));
    for (const at of [200, -1]) {
      const error = await restoreWith(path, () => flipByte(path, at));
      expect(error).toMatchObject({ kind: 'corrupted', objectName: objectNames.commit(backup.session) });
    }
  });
});

describe('what is not damage', () => {
  it('is a wrong key: locked-out', async () => {
    const error = await restoreWith(repository.keyFile, () => {
      const text = readFileSync(repository.keyFile, 'utf8');
      writeFileSync(
        repository.keyFile,
        text.replace(/key ../, (found) => (found === 'key 00' ? 'key 11' : 'key 00')),
      );
    });
    expect(error.kind).toBe('locked-out');
  });

  it('is a store that does not answer: transport, and no range is called lost', async () => {
    const { pack } = chunks.get(5) as FrameAddress;
    // A folder where the file was: reading it fails with EISDIR, whoever runs the test.
    const error = await restoreWith(pathOf(pack), () => {
      rmSync(pathOf(pack));
      mkdirSync(pathOf(pack));
    });
    expect(error.kind).toBe('transport');
    expect(error.ranges).toEqual([]);
  });
});

describe('a backup on a damaged base', () => {
  it('reads everything instead, and says why', async () => {
    await mover.settled();
    const { session, root } = backup;
    for (const path of [join(repository.store.path, objectNames.commit(session)), pathOf(top.pack)]) {
      copyFileSync(path, join(folder, 'kept'));
      flipByte(path, path === pathOf(top.pack) ? top.offsetBytes + 60 : 100);
      disk.write(MIB, randomBytes(100));
      const next = await mover.backup(orderOf(repository, disk, { base: { session, root, changed: disk.takeChanges() } }), uncancelled);
      copyFileSync(join(folder, 'kept'), path);
      expect(next.baseProblem).toMatch(/damaged/);
      expect(next.readBytes).toBeGreaterThan(15 * MIB);
      await mover.restore({ repository, domain: 'project', session: next.session, targetPath, targetSizeBytes: sizeBytes }, uncancelled);
      expect(readFileSync(targetPath).equals(disk.bytes)).toBe(true);
      rmSync(targetPath);
    }
  });

  it('reads everything instead when the base never was, or has another root', async () => {
    for (const base of [
      { session: '0'.repeat(32), root: backup.root },
      { session: backup.session, root: '0'.repeat(32) },
    ]) {
      const next = await mover.backup(orderOf(repository, disk, { base: { ...base, changed: disk.takeChanges() } }), uncancelled);
      expect(next.baseProblem).toBeDefined();
    }
  });
});

describe('a full backup after damage was found', () => {
  it('does not refer to the damaged pack: it stores those chunks again, and restores', async () => {
    const { pack, offsetBytes } = chunks.get(5) as FrameAddress;
    flipByte(pathOf(pack), offsetBytes + 30);
    const restore = (session: string) =>
      mover.restore({ repository, domain: 'project', session, targetPath, targetSizeBytes: sizeBytes }, uncancelled);
    await expect(restore(backup.session)).rejects.toMatchObject({ kind: 'corrupted' });
    const again = await mover.backup(orderOf(repository, disk), uncancelled);
    await restore(again.session);
    expect(readFileSync(targetPath).equals(disk.bytes)).toBe(true);
    rmSync(targetPath);
  });
});
