import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiskSource } from '../../src/engine/disk/contract.ts';
import { objectNames } from '../../src/engine/repository/format.ts';
import { createLocalMover, type LocalMover } from '../../src/engine/transfer/local-mover.ts';
import { silentLog } from '../../src/lib/log.ts';
import { describeBackup, makePlace, newSession, objectsOf, openPlace, uncancelled } from '../support/repository.ts';

/** A layer that cannot be read ends a backup. It never becomes a backup of something else. */
const place = makePlace();
const { repository, folder } = place;
let mover: LocalMover;
beforeAll(async () => {
  mover = createLocalMover({ workerCount: 2, now: () => new Date(), log: silentLog });
  await mover.initRepository(repository);
});
afterAll(async () => {
  await mover.stop();
  place.remove();
});

const sizeBytes = 600 * 2 ** 20;
const clusterBytes = 65_536;

/** Two layers; the tables of the upper one describe two parts of the disk, which are read one after the other. */
function makeDisk(name: string): DiskSource {
  const [base, top] = [join(folder, `${name}.raw`), join(folder, `${name}.qcow2`)];
  execFileSync('qemu-img', ['create', '-q', '-f', 'raw', base, String(sizeBytes)]);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'extended_l2=on', '-b', base, '-F', 'raw', top]);
  const writes = Array.from({ length: 20 }, (_, i) => ['-c', `write -q -P ${i + 1} ${i * 30}M 1M`]);
  execFileSync('qemu-io', ['-f', 'qcow2', ...writes.flat(), top]);
  return {
    layers: [
      { path: base, format: 'raw', sizeBytes },
      { path: top, format: 'qcow2', sizeBytes },
    ],
    sizeBytes,
  };
}

/** Overwrites an entry of the L2 table that describes the end of the disk. */
function damageLastTable(path: string): void {
  const bytes = readFileSync(path);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2 = Number(bytes.readBigUInt64BE(l1 + 16) & 0x00fffffffffffe00n);
  const file = openSync(path, 'r+');
  const astray = Buffer.alloc(8);
  astray.writeBigUInt64BE((1n << 63n) | BigInt(Math.ceil(bytes.length / clusterBytes) * clusterBytes * 100));
  writeSync(file, astray, 0, 8, l2 + ((570 * 2 ** 20 - 512 * 2 ** 20) / clusterBytes) * 16);
  closeSync(file);
}

describe('a backup', () => {
  it.each([
    ['is no qcow2 file', (path: string) => truncateSync(path, 0), /does not begin with the qcow2 magic/],
    ['was cut short', (path: string) => truncateSync(path, 4 * 2 ** 20), /the file ends before/],
    ['has a table that leads astray, late in the disk', damageLastTable, /the file ends before or inside a data cluster/],
  ])('of a disk with a layer that %s fails, and leaves nothing', async (what, damage, reason) => {
    const source = makeDisk(what.replaceAll(/\W/g, '-'));
    const session = newSession();
    const order = { repository, domain: 'project', session, formerSessions: [], source, describe: describeBackup('one') };
    damage(source.layers[1]?.path ?? '');
    await expect(mover.backup(order, uncancelled)).rejects.toThrow(reason);
    const opened = await openPlace(repository);
    expect(await objectsOf(opened.store, objectNames.packsOf(session))).toEqual([]);
    expect(await opened.store.length(objectNames.commit(session))).toBeUndefined();
    opened.store.close();
  });

  it('of the same disk undamaged succeeds', async () => {
    const source = makeDisk('sound');
    const order = { repository, domain: 'project', session: newSession(), formerSessions: [], source, describe: describeBackup('one') };
    expect((await mover.backup(order, uncancelled)).sizeBytes).toBe(sizeBytes);
  });
});
