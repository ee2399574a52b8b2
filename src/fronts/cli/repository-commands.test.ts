import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  describeBackup,
  flipByte,
  makePlace,
  objectsOf,
  openPlace,
  orderOf,
  TestDisk,
  textBytes,
  uncancelled,
} from '../../../test/support/repository.ts';
import { createLocalMover } from '../../engine/transfer/local-mover.ts';
import { silentLog } from '../../lib/log.ts';
import { exitCodes } from './exit-codes.ts';
import { repositoryList } from './repository-list.ts';
import { repositoryRestore } from './repository-restore.ts';
import { runCli } from './run-cli.ts';

const MIB = 1024 * 1024;
const place = makePlace();
const { repository, folder } = place;
const disk = new TestDisk(join(folder, 'disk.raw'), 10 * MIB);
const output = join(folder, 'out.raw');
let second: Buffer;

beforeAll(async () => {
  const mover = createLocalMover({ workerCount: 1, now: () => new Date(), log: silentLog });
  await mover.initRepository(repository);
  disk.write(0, randomBytes(2 * MIB));
  const first = await mover.backup(orderOf(repository, disk, { describe: describeBackup('first') }), uncancelled);
  disk.takeChanges();
  disk.write(5 * MIB, textBytes(MIB, 5));
  const base = { session: first.session, root: first.root, changed: disk.takeChanges() };
  await mover.backup(orderOf(repository, disk, { describe: describeBackup('second'), base }), uncancelled);
  second = disk.bytes;
  const gone = await mover.backup(orderOf(repository, disk, { describe: describeBackup('gone'), domain: 'other' }), uncancelled);
  await mover.tombstone(repository, 'other', gone.session);
  await mover.stop();
});
afterAll(() => place.remove());

async function run(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const stream = (lines: string[]) => ({ isTTY: false, columns: 80, write: (text: string) => void lines.push(text) });
  const exitCode = await runCli(['repository', ...args], {
    commands: [repositoryList, repositoryRestore],
    version: '0',
    environment: {},
    stdout: stream(out),
    stderr: stream(err),
    signal: new AbortController().signal,
    stateDirOf: () => folder,
  });
  return { exitCode, out: out.join(''), err: err.join('') };
}

const where = ['--repo', repository.store.path, '--key', repository.keyFile];
const restoreOf = (id: string) => run('restore', ...where, '--backup', id, '--output', output);

describe('the repository commands', () => {
  it('list the live backups, the oldest first, with neither server nor database', async () => {
    const { exitCode, out } = await run('list', ...where, '-f', 'json');
    expect(exitCode).toBe(exitCodes.ok);
    expect(JSON.parse(out).map((row: Record<string, unknown>) => [row.backup, row.volume, row.size_bytes])).toEqual([
      ['first', 'volume', 10 * MIB],
      ['second', 'volume', 10 * MIB],
    ]);
  });

  it('restore a backup by its id, byte for byte', async () => {
    const { exitCode, out } = await restoreOf('second');
    expect(exitCode).toBe(exitCodes.ok);
    expect(out).toContain('verified_root');
    expect(readFileSync(output).equals(second)).toBe(true);
    rmSync(output);
  });

  it('never overwrite a file', async () => {
    writeFileSync(output, 'mine');
    expect((await restoreOf('second')).exitCode).toBe(exitCodes.refused);
    expect(readFileSync(output, 'utf8')).toBe('mine');
    rmSync(output);
  });

  it('tell an unknown backup, a deleted one, a wrong place and a wrong key apart from damage', async () => {
    expect((await restoreOf('third')).exitCode).toBe(exitCodes.notFound);
    expect((await restoreOf('gone')).exitCode).toBe(exitCodes.notFound);
    expect((await run('list', '--repo', folder, '--key', repository.keyFile)).exitCode).toBe(exitCodes.notFound);
    expect((await run('list', '--repo', repository.store.path, '--key', join(folder, 'none'))).exitCode).toBe(exitCodes.refused);
    expect((await run('list', '--repo', repository.store.path)).exitCode).toBe(exitCodes.usage);
  });

  it('name the damaged ranges, exit with 6, and leave no file', async () => {
    const opened = await openPlace(repository);
    for (const name of await objectsOf(opened.store, 'p/')) flipByte(join(repository.store.path, name), 60_000);
    opened.store.close();
    const { exitCode, err } = await restoreOf('first');
    expect(exitCode).toBe(exitCodes.corrupted);
    expect(err).toMatch(/0 to 262143 \(262144 bytes\)/);
    expect(existsSync(output)).toBe(false);
  });
});
