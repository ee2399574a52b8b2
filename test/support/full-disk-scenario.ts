/**
 * Runs backups and restores on a file system without room, and prints what happened as JSON. Started in a mount namespace of its own with a
 * small tmpfs at the folder that is its argument; a large source lies outside of it.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createLocalMover } from '../../src/engine/transfer/local-mover.ts';
import { silentLog } from '../../src/lib/log.ts';
import { objectsOf, openPlace, orderOf, TestDisk, uncancelled } from './repository.ts';

const MIB = 1024 * 1024;
const [small, large] = process.argv.slice(2);
if (small === undefined || large === undefined) throw new Error('two folders are needed');

const repository = {
  id: 'full',
  store: { kind: 'filesystem', path: join(small, 'store') },
  keyFile: join(large, 'key'),
  cacheDir: join(large, 'cache'),
} as const;
const kindOf = (error: unknown): unknown => (error instanceof Error && 'kind' in error ? error.kind : String(error));
const mover = createLocalMover({ workerCount: 2, now: () => new Date(), log: silentLog });
await mover.initRepository(repository);

const bigDisk = new TestDisk(join(large, 'big.raw'), 64 * MIB);
for (let at = 0; at < 64 * MIB; at += 4 * MIB) bigDisk.write(at, randomBytes(4 * MIB));
const big = await mover.backup(orderOf(repository, bigDisk), uncancelled).catch(kindOf);
const opened = await openPlace(repository);
const left = {
  packs: await objectsOf(opened.store, 'p/'),
  commits: await objectsOf(opened.store, 'c/'),
  unfinished: readdirSync(join(small, 'store/tmp')),
};
opened.store.close();

const smallDisk = new TestDisk(join(large, 'small.raw'), 12 * MIB);
smallDisk.write(0, randomBytes(12 * MIB));
const fitting = await mover.backup(orderOf(repository, smallDisk), uncancelled);

const restoreTo = (name: string, session: string) =>
  mover
    .restore({ repository, domain: 'project', session, targetPath: join(small, name), targetSizeBytes: 12 * MIB }, uncancelled)
    .catch(kindOf);
// A tmpfs knows how much room it has, so this is noticed before the first byte is written.
const restored = await restoreTo('target.raw', fitting.session);
await mover.stop();
console.log(JSON.stringify({ big, left, fitting: fitting.objectCount, restored, target: existsSync(join(small, 'target.raw')) }));
