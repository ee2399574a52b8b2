/**
 * One operation on disks in a process of its own, for tests that kill it. Arguments: the database's connection, the folder, the operation, all as
 * JSON. With `STILLPOINT_CRASH_POINT` it is killed at that point; without, it is the next process: it adopts what the first one left, and repeats.
 */
import { truncate, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase } from '../../src/cloud/database/service.ts';
import type { FreezeOfOne } from '../../src/cloud/disks/service.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { armCrashPoint } from '../../src/lib/crash-points.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type DiskTree, diskBytes, mib, openDiskTree, slowlyMergingIn, testHolder, type Write, writeThrough } from './disk-tree.ts';

export interface DiskOrder {
  readonly operation: 'create' | 'freeze' | 'open' | 'close' | 'resize' | 'drop' | 'tidy' | 'base' | 'replace' | 'freeze-together';
  readonly volumeId: string;
  readonly pointId: string;
  readonly layerId: string;
  readonly topLayerId: string;
  /** Of `freeze-together`. Who repeats it and fails releases the points, as a saga does. */
  readonly plans?: readonly FreezeOfOne[];
  /** What a client writes between the two processes, through the server that outlived the first. */
  readonly meanwhile?: readonly Write[];
  /** Whether the server dies, too, before the second process starts. */
  readonly powerCut?: boolean;
  /** What the second process does in place of repeating the operation. */
  readonly successor?: 'tidy' | 'freeze';
  /** Merges below clients take long, so that they are still running when the first process is gone. */
  readonly slowly?: boolean;
}

async function perform({ disks, release }: DiskTree, order: DiskOrder): Promise<void> {
  const { volumeId, pointId, layerId, topLayerId, plans = [] } = order;
  switch (order.operation) {
    case 'create':
      return await disks.createDisk(volumeId, { topLayerId, sizeBytes: diskBytes, fromPointId: pointId });
    case 'freeze':
      return await disks.freeze(volumeId, { pointId, topLayerId, holder: testHolder });
    case 'open':
      await disks.openExport(volumeId, { readOnly: false });
      return;
    case 'close':
      return await disks.closeExport(volumeId);
    case 'resize':
      return await disks.resize(volumeId, 2 * diskBytes);
    case 'drop':
      return await disks.dropDisk(volumeId);
    case 'tidy':
      return void (await disks.tidy());
    case 'base':
      return await disks.createBase({ layerId, pointId, home: volumeId, sizeBytes: diskBytes, holder: testHolder }, async ({ path }) => {
        await writeFile(path, Buffer.alloc(mib, 7));
        await truncate(path, diskBytes);
        return ExtentSet.of([[0, mib]]);
      });
    case 'freeze-together':
      return await disks.freezeTogether(plans).catch(async (error: unknown) => {
        process.stdout.write(`${String(error)}\n`);
        for (const plan of plans) await release(plan.pointId);
      });
    case 'replace':
      return await disks.replaceDisk(volumeId, { fromPointId: pointId, topLayerId, sizeBytes: diskBytes });
  }
}

/** Without anybody's help. Systems give up on a disk after 30 s and more. */
const clientPatienceMs = 10_000;

async function betweenProcesses({ database }: DiskTree, order: DiskOrder): Promise<void> {
  if (order.meanwhile === undefined) return;
  const servers = await database.sql.selectFrom('volume_exports').selectAll().execute();
  const startedAt = performance.now();
  for (const server of servers) await writeThrough(server.socket_path, order.meanwhile);
  const tookMs = performance.now() - startedAt;
  if (tookMs > clientPatienceMs) throw new Error(`clients were held up for ${tookMs} ms`);
  if (order.powerCut !== true) return;
  for (const server of servers) process.kill(server.process_id, 'SIGKILL');
  await sleep(100);
}

const [connectionText = '', folder = '', orderText = ''] = process.argv.slice(2);
const connection = JSON.parse(connectionText);
const order = JSON.parse(orderText) as DiskOrder;
const database = openDatabase({ connection, poolMax: 4, log: silentLog });
const held = { database, connection, drop: () => database.close() };
const tree = openDiskTree(folder, held, order.slowly === true ? slowlyMergingIn(folder) : undefined);
const point = process.env.STILLPOINT_CRASH_POINT;
if (point === undefined) {
  await betweenProcesses(tree, order);
  await tree.disks.adoptExports();
} else {
  armCrashPoint(point, 'kill');
}
await perform(tree, point === undefined && order.successor !== undefined ? { ...order, operation: order.successor } : order);
await tree.disks.stop();
await database.close();
