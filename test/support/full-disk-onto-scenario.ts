/**
 * The file system of the target becomes full while a restore writes, onto a disk and to a new file, and what happened is printed as JSON. Started in a
 * mount namespace of its own with a tmpfs of 128 MiB at the folder that is its first argument; everything else lies in the second.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createLocalMover } from '../../src/engine/transfer/local-mover.ts';
import { silentLog } from '../../src/lib/log.ts';
import { orderOf, TestDisk } from './repository.ts';

const MIB = 1024 * 1024;
const [small, large] = process.argv.slice(2);
if (small === undefined || large === undefined) throw new Error('two folders are needed');

const repository = {
  id: 'full',
  store: { kind: 'filesystem', path: join(large, 'store') },
  keyFile: join(large, 'key'),
  cacheDir: join(large, 'cache'),
} as const;
const { signal } = new AbortController();
const mover = createLocalMover({ workerCount: 1, now: () => new Date(), log: silentLog });
await mover.initRepository(repository);
// More leaves than are handed out at once: some are still to be written when the first is done.
const sizeBytes = 96 * MIB;
const [disk, empty] = [new TestDisk(join(large, 'disk.raw'), sizeBytes), new TestDisk(join(large, 'empty.raw'), sizeBytes)];
for (let at = 0; at < sizeBytes; at += 4 * MIB) disk.write(at, randomBytes(4 * MIB));
const { session } = await mover.backup(orderOf(repository, disk), { signal });

const filler = join(small, 'filler');
function fill(): void {
  const fd = openSync(filler, 'w');
  try {
    for (;;) writeSync(fd, Buffer.alloc(MIB, 1));
  } catch {
    // Full.
  }
  closeSync(fd);
}

const targetPath = join(small, 'target');
const backing = { name: empty.path, format: 'raw' } as const;
const target = { path: targetPath, format: 'qcow2', sizeBytes, backing } as const;
const address = { repository, domain: 'project', session };
const ways = {
  onto: (onProgress: (doneBytes: number) => void) =>
    mover.restoreOnto({ ...address, current: empty.source(), target }, { signal, onProgress }),
  new: (onProgress: (doneBytes: number) => void) =>
    mover.restore({ ...address, targetPath, targetSizeBytes: sizeBytes }, { signal, onProgress }),
};
const results: Record<string, unknown> = {};
for (const [name, run] of Object.entries(ways)) {
  const whenFull = await run((doneBytes) => {
    if (doneBytes > 0 && !existsSync(filler)) fill();
  }).catch((error: unknown) => (error instanceof Error && 'kind' in error ? error.kind : String(error)));
  const isLeft = existsSync(targetPath);
  rmSync(filler);
  const { writtenBytes } = (await run(() => {})) as { writtenBytes: number };
  rmSync(targetPath);
  results[name] = { whenFull, isLeft, writtenBytes };
}
await mover.stop();
console.log(JSON.stringify(results));
