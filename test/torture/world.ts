/** One history's world: a database, a folder, the process of the disks, and the model of what should be there. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Database } from '../../src/cloud/database/service.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import type { RepositoryAddress } from '../../src/engine/transfer/contract.ts';
import { newId } from '../../src/lib/ids.ts';
import { makeDatabase, type TestDatabase, type TestServer } from '../support/database-server.ts';
import { connectNbd, type NbdClient } from '../support/nbd-client.ts';
import { processes } from '../support/processes.ts';
import { fillFrom } from './client.ts';
import { type Contents, ContentsBuilder } from './contents.ts';
import type { Counts } from './counts.ts';
import { DiskClient } from './disk-client.ts';
import type { DiskProcessPlan } from './disk-orders.ts';
import type { BackupModel, PointModel, VolumeModel } from './model.ts';

const readBytesMax = 8 << 20;
const readerHolder = 'reader:torture';

export class World {
  readonly folder: string;
  readonly held: TestDatabase;
  readonly counts: Counts;
  readonly plan: DiskProcessPlan;
  readonly volumes = new Map<string, VolumeModel>();
  readonly points = new Map<string, PointModel>();
  readonly backups = new Map<string, BackupModel>();
  /** What every point that there ever was held, by its id: points outlive their names. */
  readonly everyPoint = new Map<string, Contents>();
  /** What every commit held, by its session. */
  readonly everySession = new Map<string, Contents>();
  /** The sessions that each backup has used, in their order. */
  readonly sessions: Map<string, string[]>;
  disks: DiskClient;

  private constructor(parts: Pick<World, 'folder' | 'held' | 'plan' | 'counts' | 'sessions' | 'disks'>) {
    this.folder = parts.folder;
    this.held = parts.held;
    this.plan = parts.plan;
    this.counts = parts.counts;
    this.sessions = parts.sessions;
    this.disks = parts.disks;
  }

  static async make(server: TestServer, counts: Counts): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), 'sp-torture-'));
    const runtimeDir = join(folder, 'run');
    await mkdir(runtimeDir, { mode: 0o700 });
    const held = await makeDatabase(server, { poolMax: 3 });
    const repository: RepositoryAddress = {
      id: newId(),
      store: { kind: 'filesystem', path: join(folder, 'repository') },
      keyFile: join(folder, 'repository.key'),
      cacheDir: join(folder, 'cache'),
    };
    const plan = { connection: held.connection, volumesPath: join(folder, 'volumes'), runtimeDir, repository };
    const sessions = new Map<string, string[]>();
    try {
      return new World({ folder, held, plan, counts, sessions, disks: await DiskClient.start(plan, sessions) });
    } catch (error) {
      await held.drop();
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get database(): Database {
    return this.held.database;
  }

  async startDisks(): Promise<void> {
    // Whose reader lost its process in the middle could not let go of its point.
    await this.database.sql.deleteFrom('point_holds').where('holder', '=', readerHolder).execute();
    this.disks = await DiskClient.start(this.plan, this.sessions);
  }

  async readPoint(pointId: string): Promise<Contents> {
    await this.disks.order('hold', { pointId, holder: readerHolder });
    try {
      const disk = openDisk(await this.disks.order('source', { pointId }));
      try {
        const builder = new ContentsBuilder(disk.sizeBytes);
        for (const [start, end] of disk.allocated().alignTo(65_536).clamp(disk.sizeBytes).ranges()) {
          for (let at = start; at < end; at += readBytesMax) {
            const bytes = Buffer.alloc(Math.min(readBytesMax, end - at));
            disk.readSync(bytes, at);
            builder.add(at, bytes);
          }
        }
        this.counts.bytesCompared += disk.sizeBytes;
        return builder.build();
      } finally {
        disk.close();
      }
    } finally {
      await this.disks.order('release', { pointId, holder: readerHolder });
    }
  }

  async readThrough(client: NbdClient): Promise<Contents> {
    const builder = new ContentsBuilder(client.sizeBytes);
    await fillFrom(builder, client);
    this.counts.bytesCompared += client.sizeBytes;
    return builder.build();
  }

  /** Through the client that is connected, or through a server that is started for it. */
  async readVolume(volume: VolumeModel): Promise<Contents> {
    if (volume.client !== undefined) return await this.readThrough(volume.client);
    const socketPath = await this.disks.order('openExport', { volumeId: volume.id, readOnly: true });
    const client = await connectNbd(socketPath);
    try {
      return await this.readThrough(client);
    } finally {
      await client.close();
      await this.disks.order('closeExport', { volumeId: volume.id });
    }
  }

  /** Ends everything, whatever state it is in. */
  async end(): Promise<void> {
    for (const { client } of this.volumes.values()) await client?.close().catch(() => undefined);
    if (!this.disks.isDead) await this.disks.kill();
    for (const daemon of await this.daemons()) {
      try {
        process.kill(daemon, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    await this.held.drop();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** The servers of this world's disks. */
  async daemons(): Promise<number[]> {
    const found = (await processes()).filter(
      ({ commandLine }) => /^[^\0]*qemu-storage-daemon\0/.test(commandLine) && commandLine.includes(this.folder),
    );
    return found.map(({ id }) => id);
  }
}
