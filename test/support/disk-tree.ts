/** Disks on real files, or in memory, and a real database, with a plain buffer beside each of them that got the same writes. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Database } from '../../src/cloud/database/service.ts';
import { createDisksService, type RunningDisks } from '../../src/cloud/disks/service.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import type { VolumeBackend } from '../../src/engine/volumes/contract.ts';
import { createLayeredFiles, type LayeredFilesOptions } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { createMemoryBackend } from '../../src/engine/volumes/memory/create-memory.ts';
import { createMemoryDisks } from '../../src/engine/volumes/memory/memory-disks.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type TestDatabase, testDatabase } from './database.ts';

const run = promisify(execFile);
export const mib = 2 ** 20;
export const diskBytes = 16 * mib;

export interface Write {
  readonly offset: number;
  readonly length: number;
  /** 0 = zeroes. */
  readonly pattern: number;
}

export interface DiskTree {
  readonly folder: string;
  readonly held: TestDatabase;
  readonly database: Database;
  readonly backend: VolumeBackend;
  readonly disks: RunningDisks;
  /** As a new process would find everything: nothing in memory, the files and rows as they are. */
  restart(): Promise<DiskTree>;
  /** A volume's row, without a disk. */
  volumeRow(sizeGib?: number): Promise<string>;
  volume(fromPointId?: string | null, sizeBytes?: number): Promise<string>;
  freeze(volumeId: string, holder?: string): Promise<string>;
  release(pointId: string, holder?: string): Promise<void>;
  /** Writes through a server of the disk; one that is open already stays. */
  write(volumeId: string, writes: readonly Write[]): Promise<void>;
  bytesOf(volumeId: string): Promise<Buffer>;
  bytesOfPoint(pointId: string): Promise<Buffer>;
  layerCount(): Promise<number>;
  layerFiles(): Promise<string[]>;
  stop(): Promise<void>;
}

export const testHolder = 'snapshot:test';

/** Where the bytes of a tree lie, whatever process looks at them. */
export interface TreeStorage {
  makeBackend(): VolumeBackend;
  layerNames(): Promise<string[]>;
}

const storages = {
  'layered-files': (folder: string): TreeStorage => filesIn(folder),
  'slowly merging': slowlyMergingIn,
  memory(folder: string): TreeStorage {
    const disks = createMemoryDisks({ scratchDir: join(folder, 'run') });
    return {
      makeBackend: () => createMemoryBackend({ disks, log: silentLog }),
      layerNames: async () => [...disks.layers.keys()],
    };
  },
} satisfies Record<string, (folder: string) => TreeStorage>;

/** Merges below connected clients are so slow that whoever waits for their end is noticed. */
export function slowlyMergingIn(folder: string): TreeStorage {
  return filesIn(folder, { liveMergeBytesPerSecond: mib / 4 });
}

function filesIn(folder: string, options: Pick<LayeredFilesOptions, 'liveMergeBytesPerSecond'> = {}): TreeStorage {
  const root = join(folder, 'volumes');
  return {
    makeBackend: () =>
      createLayeredFiles({
        root,
        runtimeDir: join(folder, 'run'),
        log: silentLog,
        space: createSpaceAccount({ keptBytes: 0 }),
        confinement: createConfinement(),
        ...options,
      }),
    async layerNames() {
      const { stdout } = await run('find', [root, '-type', 'f', '(', '-name', '*.qcow2', '-o', '-name', '*.raw', ')']);
      return stdout.split('\n').filter((line) => line !== '');
    },
  };
}

export async function makeDiskTree(storage: keyof typeof storages = 'layered-files'): Promise<DiskTree> {
  const folder = await mkdtemp(join(tmpdir(), 'sp-disks-'));
  await mkdir(join(folder, 'run'), { mode: 0o700 });
  return openDiskTree(folder, await testDatabase(), storages[storage](folder));
}

export function openDiskTree(folder: string, held: TestDatabase, storage: TreeStorage = filesIn(folder)): DiskTree {
  const { database } = held;
  const log = silentLog;
  const backend = storage.makeBackend();
  const disks = createDisksService({ database, backend, log });

  const tree: DiskTree = {
    folder,
    held,
    database,
    backend,
    disks,
    async restart() {
      await disks.stop();
      return openDiskTree(folder, held, storage);
    },
    async volumeRow(sizeGib = 1) {
      const id = newId();
      const type = await database.sql.selectFrom('volume_types').select('id').executeTakeFirstOrThrow();
      const row = {
        id,
        project_id: 'p',
        user_id: 'u',
        status: 'available',
        size_gib: sizeGib,
        availability_zone: 'nova',
        volume_type_id: type.id,
      };
      await database.sql.insertInto('volumes').values(row).execute();
      return id;
    },
    async volume(fromPointId = null, sizeBytes = diskBytes) {
      const id = await tree.volumeRow();
      await disks.createDisk(id, { topLayerId: newId(), sizeBytes, fromPointId });
      return id;
    },
    async freeze(volumeId, holder = testHolder) {
      const pointId = newId();
      await disks.freeze(volumeId, { pointId, topLayerId: newId(), holder });
      return pointId;
    },
    release: (pointId, holder = testHolder) => database.transact((tx) => disks.release(tx, pointId, holder)),
    async write(volumeId, writes) {
      const open = await database.sql.selectFrom('volume_exports').select('volume_id').where('volume_id', '=', volumeId).executeTakeFirst();
      const { socketPath } = await disks.openExport(volumeId, { readOnly: false });
      await writeThrough(socketPath, writes);
      if (open === undefined) await disks.closeExport(volumeId);
    },
    async bytesOf(volumeId) {
      const { socketPath } = await disks.openExport(volumeId, { readOnly: true });
      const copy = join(folder, `copy-${newId()}`);
      await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', `nbd+unix:///disk?socket=${socketPath}`, copy]);
      await disks.closeExport(volumeId);
      return await readAndRemove(copy);
    },
    async bytesOfPoint(pointId) {
      const disk = openDisk(await disks.sourceOf(pointId));
      const bytes = Buffer.alloc(disk.sizeBytes);
      disk.readSync(bytes, 0);
      disk.close();
      return bytes;
    },
    async layerCount() {
      const { count } = await database.sql
        .selectFrom('layers')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow();
      return count;
    },
    layerFiles: storage.layerNames,
    async stop() {
      for (const { volume_id } of await database.sql.selectFrom('volume_exports').select('volume_id').execute())
        await disks.closeExport(volume_id);
      await disks.stop();
      await held.drop();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return tree;
}

async function readAndRemove(path: string): Promise<Buffer> {
  const { readFile } = await import('node:fs/promises');
  const bytes = await readFile(path);
  await rm(path);
  return bytes;
}

export async function writeThrough(socketPath: string, writes: readonly Write[]): Promise<void> {
  const commands = writes.map(({ offset, length, pattern }) =>
    pattern === 0 ? `write -q -z ${offset} ${length}` : `write -q -P ${pattern} ${offset} ${length}`,
  );
  const uri = `nbd+unix:///disk?socket=${socketPath}`;
  await run('qemu-io', ['-f', 'raw', ...[...commands, 'flush'].flatMap((command) => ['-c', command]), uri]);
}

export function applyTo(model: Buffer, writes: readonly Write[]): void {
  for (const { offset, length, pattern } of writes) model.fill(pattern, offset, offset + length);
}
