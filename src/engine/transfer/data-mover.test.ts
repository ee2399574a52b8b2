import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  flipByte,
  makePlace,
  newSession,
  objectsOf,
  openPlace,
  orderOf,
  TestDisk,
  textBytes,
  uncancelled,
} from '../../../test/support/repository.ts';
import { silentLog } from '../../lib/log.ts';
import { objectNames } from '../repository/format.ts';
import type { DataMover } from './contract.ts';
import { createDataMover } from './data-mover-client.ts';

const MIB = 1024 * 1024;
const entryPath = join(import.meta.dirname, '../../main/data-mover.ts');
const place = makePlace();
const { repository, folder } = place;
const targetPath = join(folder, 'target.raw');
const movers: DataMover[] = [];

const startMover = (entry = entryPath): DataMover => {
  const mover = createDataMover({ entryPath: entry, log: silentLog });
  movers.push(mover);
  return mover;
};
const disk = new TestDisk(join(folder, 'disk.raw'), 24 * MIB);
const smallDisk = new TestDisk(join(folder, 'small-disk.raw'), 3 * MIB);

beforeAll(async () => {
  for (let at = 0; at < 24 * MIB; at += 4 * MIB) disk.write(at, at % (8 * MIB) === 0 ? randomBytes(4 * MIB) : textBytes(4 * MIB, at));
  smallDisk.write(MIB, randomBytes(MIB));
  await startMover().initRepository(repository);
});
afterEach(async () => {
  for (const mover of movers.splice(0)) await mover.stop();
});
afterAll(() => place.remove());

/** The processes below this one that run the given entry. */
function moverProcesses(parent = process.pid): number[] {
  const children = readdirSync(`/proc/${parent}/task`).flatMap((task) => {
    try {
      return readFileSync(`/proc/${parent}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    } catch {
      return [];
    }
  });
  return children.filter((child) => commandOf(child).includes('mover'));
}

function commandOf(processId: number): string {
  try {
    return readFileSync(`/proc/${processId}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

const restore = (mover: DataMover, session: string, from = disk) =>
  mover.restore({ repository, domain: 'project', session, targetPath, targetSizeBytes: from.sizeBytes }, uncancelled);

async function expectRestores(mover: DataMover, session: string, from = disk): Promise<void> {
  await restore(mover, session, from);
  expect(readFileSync(targetPath).equals(from.bytes)).toBe(true);
  rmSync(targetPath);
}

describe('the data mover as a process', () => {
  it('backs up and restores with progress that ends at the total, niced', async () => {
    const mover = startMover();
    const progress: (readonly [number, number])[] = [];
    const onProgress = (done: number, total: number): void => void progress.push([done, total]);
    const { session } = await mover.backup(orderOf(repository, disk), { ...uncancelled, onProgress });
    expect(progress.at(-1)).toEqual([24 * MIB, 24 * MIB]);
    expect(new Set(moverProcesses().map((child) => getPriority(child)))).toEqual(new Set([10]));
    await expectRestores(mover, session);
  });

  it('passes on an abort, also of work that still waits for its turn', async () => {
    const mover = startMover();
    const aborts = Array.from({ length: 4 }, () => new AbortController());
    const results = aborts.map(({ signal }) => mover.backup(orderOf(repository, disk, { domain: newSession() }), { signal }));
    setTimeout(() => {
      for (const i of [0, 2, 3]) aborts[i]?.abort();
    }, 20);
    const kinds = (await Promise.allSettled(results)).map((result) => (result.status === 'fulfilled' ? 'done' : result.reason.kind));
    expect(kinds).toEqual(['aborted', 'done', 'aborted', 'aborted']);
  });

  it('asks before the first byte of a restore, and a refusal leaves nothing', async () => {
    const mover = startMover();
    const { session } = await mover.backup(orderOf(repository, disk), uncancelled);
    const order = { repository, domain: 'project', session, targetPath, targetSizeBytes: disk.sizeBytes };
    const refusal = new Error('there is no room');
    const asked: number[] = [];
    const refuse = async (bytes: number): Promise<void> => {
      asked.push(bytes, statSync(targetPath).blocks);
      throw refusal;
    };
    await expect(mover.restore(order, { ...uncancelled, admit: refuse })).rejects.toBe(refusal);
    expect(asked).toEqual([24 * MIB, 0]);
    expect(existsSync(targetPath)).toBe(false);

    const aborter = new AbortController();
    const waiting = mover.restore(order, { signal: aborter.signal, admit: () => new Promise(() => aborter.abort()) });
    await expect(waiting).rejects.toMatchObject({ kind: 'aborted' });
    await mover.restore(order, { ...uncancelled, admit: async (bytes) => void asked.push(bytes) });
    expect(readFileSync(targetPath).equals(disk.bytes)).toBe(true);
    expect(asked.at(-1)).toBe(24 * MIB);
    rmSync(targetPath);
  });

  it('tells damage with its ranges across the border of the process', async () => {
    const mover = startMover();
    const { session } = await mover.backup(orderOf(repository, disk, { domain: 'damaged' }), uncancelled);
    const opened = await openPlace(repository);
    const [pack] = await objectsOf(opened.store, objectNames.packsOf(session));
    opened.store.close();
    flipByte(join(repository.store.path, pack as string), 1_000_000);
    const order = { repository, domain: 'damaged', session, targetPath, targetSizeBytes: disk.sizeBytes };
    const error = await mover.restore(order, uncancelled).catch((caught) => caught);
    expect(error).toMatchObject({ name: 'RepositoryError', kind: 'corrupted', objectName: pack });
    expect(error.ranges).toHaveLength(1);
    expect(existsSync(targetPath)).toBe(false);
  });

  // Bounds of time: other work on the machine only ever makes this slower.
  it('answers an unchanged backup at once while it is warm', { retry: 2 }, async () => {
    const mover = startMover();
    disk.takeChanges();
    const { session, root } = await mover.backup(orderOf(repository, disk), uncancelled);
    const base = { session, root, changed: disk.takeChanges() };
    const startedMs = performance.now();
    expect((await mover.backup(orderOf(repository, disk, { base }), uncancelled)).root).toBe(root);
    expect(performance.now() - startedMs).toBeLessThan(300);
  });

  it('is gone soon after the service was killed', async () => {
    const program = `
      const { createDataMover } = await import(${JSON.stringify(new URL('./data-mover-client.ts', import.meta.url).href)});
      const log = { debug() {}, info() {}, warn() {}, error() {} };
      const mover = createDataMover({ entryPath: ${JSON.stringify(entryPath)}, log });
      await mover.initRepository(${JSON.stringify(repository)});
      console.log('ready');
      setInterval(() => {}, 1000);`;
    const service = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(service.stdout, 'data');
    const [child] = moverProcesses(service.pid);
    expect(child).toBeDefined();
    service.kill('SIGKILL');
    for (let i = 0; i < 100 && commandOf(child as number) !== ''; i += 1) await pause(50);
    expect(commandOf(child as number)).toBe('');
  });
});

/** A mover that is killed at a marked instant. */
function armedEntry(point: string): string {
  mkdirSync(join(folder, 'entries'), { recursive: true });
  const entry = join(folder, 'entries', `mover-${point}.ts`);
  const crashPoints = new URL('../../lib/crash-points.ts', import.meta.url).href;
  writeFileSync(
    entry,
    `import { armCrashPoint } from ${JSON.stringify(crashPoints)};\narmCrashPoint(${JSON.stringify(point)}, 'kill');\nawait import(${JSON.stringify(entryPath)});\n`,
  );
  return entry;
}

describe('a data mover that dies', () => {
  it.each([0.1, 0.5, 0.9])('in a backup, at %d of it, rejects the call; the next attempt succeeds and cleans up', async (share) => {
    const mover = startMover();
    const lost = newSession();
    const onProgress = (done: number): void => {
      if (done >= share * 24 * MIB) for (const child of moverProcesses()) process.kill(child, 'SIGKILL');
    };
    const domain = newSession();
    const killed = mover.backup(orderOf(repository, disk, { session: lost, domain }), { ...uncancelled, onProgress });
    const killer = setInterval(
      () => {
        for (const child of moverProcesses()) process.kill(child, 'SIGKILL');
      },
      40 + share * 60,
    );
    const error = await killed.then(
      () => undefined,
      (caught) => caught,
    );
    clearInterval(killer);
    if (error !== undefined) expect(error).toMatchObject({ kind: 'interrupted' });
    await mover.initRepository(repository);
    expect(readdirSync(join(repository.store.path, 'tmp'))).toEqual([]);
    const next = await mover.backup(orderOf(repository, disk, { formerSessions: [lost], domain }), uncancelled);
    const opened = await openPlace(repository);
    expect(next.session === lost || (await objectsOf(opened.store, objectNames.packsOf(lost))).length === 0).toBe(true);
    opened.store.close();
    const order = { repository, domain, session: next.session, targetPath, targetSizeBytes: disk.sizeBytes };
    await mover.restore(order, uncancelled);
    expect(readFileSync(targetPath).equals(disk.bytes)).toBe(true);
    rmSync(targetPath);
  });

  it.each([
    'store.before-flush',
    'store.before-link',
    'store.after-link',
    'backup.packs-durable',
    'backup.before-commit',
    'backup.after-commit',
  ])('at %s, leaves a repository in which the next attempt finds or makes the backup', async (point) => {
    const lost = newSession();
    const order = orderOf(repository, smallDisk, { session: lost });
    await expect(startMover(armedEntry(point)).backup(order, uncancelled)).rejects.toMatchObject({ kind: 'interrupted' });
    const mover = startMover();
    const next = await mover.backup(orderOf(repository, smallDisk, { formerSessions: [lost] }), uncancelled);
    expect(next.session === lost).toBe(point === 'backup.after-commit');
    await expectRestores(mover, next.session, smallDisk);
  });

  it.each(['restore.before-flush', 'qcow2:before-header'])('at %s of a restore onto a disk, leaves it to the next', async (point) => {
    const mover = startMover();
    const { session } = await mover.backup(orderOf(repository, smallDisk), uncancelled);
    const current = new TestDisk(join(folder, `current-${point}.raw`), smallDisk.sizeBytes);
    current.write(100_000, randomBytes(300_000));
    const backing = { name: current.path, format: 'raw' } as const;
    const target = { path: targetPath, format: 'qcow2', sizeBytes: current.sizeBytes, backing } as const;
    const order = { repository, domain: 'project', session, current: current.source(), target };
    await expect(startMover(armedEntry(point)).restoreOnto(order, uncancelled)).rejects.toMatchObject({ kind: 'interrupted' });
    expect(await mover.restoreOnto(order, uncancelled)).toMatchObject({ kind: 'restored' });
    execFileSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', targetPath, smallDisk.path]);
    rmSync(targetPath);
  });

  it('in a restore, leaves a target that the next restore replaces', async () => {
    const mover = startMover();
    const { session } = await mover.backup(orderOf(repository, disk), uncancelled);
    const killed = restore(mover, session);
    while (!existsSync(targetPath)) await pause(1);
    for (const child of moverProcesses()) process.kill(child, 'SIGKILL');
    await expect(killed).rejects.toMatchObject({ kind: 'interrupted' });
    await expectRestores(mover, session);
  });
});

/** Runs a script with a small file system of its own as its first argument, and another folder as its second. */
function onSmallFileSystem(script: string, sizeMib: number): unknown {
  const small = join(folder, `small-${script}`);
  const large = join(folder, `large-${script}`);
  for (const path of [small, large]) mkdirSync(path);
  const scenario = join(import.meta.dirname, '../../../test/support', `${script}.ts`);
  const shell = `mount -t tmpfs -o size=${sizeMib}m none "$1" && exec "$0" "$2" "$1" "$3"`;
  // Without root, a user namespace gives the right to mount inside of it.
  const isolation = process.getuid?.() === 0 ? ['-m'] : ['-r', '-m'];
  const output = execFileSync('unshare', [...isolation, 'sh', '-c', shell, process.execPath, small, scenario, large], { encoding: 'utf8' });
  return JSON.parse(output);
}

describe('a full file system', () => {
  it('fails the backup or the restore with kind full, and keeps nothing of it', () => {
    expect(onSmallFileSystem('full-disk-scenario', 24)).toEqual({
      big: 'full',
      left: { packs: [], commits: [], unfinished: [] },
      fitting: 2,
      restored: 'full',
      target: false,
    });
  });

  it('that becomes full while a restore writes leaves nothing of it, and the next one writes all', () => {
    const whole = { whenFull: 'full', isLeft: false, writtenBytes: 96 * MIB };
    expect(onSmallFileSystem('full-disk-onto-scenario', 128)).toEqual({ onto: whole, new: whole });
  });
});
