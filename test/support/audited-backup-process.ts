/**
 * A process for the kill tests: begins an incremental backup of a volume when a crash point is armed; else waits until all sagas have ended.
 * Its one argument is JSON.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { openDatabase } from '../../src/cloud/database/service.ts';
import { armCrashPoint } from '../../src/lib/crash-points.ts';
import { silentLog } from '../../src/lib/log.ts';
import { backupOrder, callerOf, startBackupCloud } from './backup-cloud.ts';
import type { TestServer } from './database.ts';

export interface AuditedBackupOrder {
  readonly connection: TestServer;
  readonly folder: string;
  readonly projectId: string;
  readonly volumeId: string;
}

const { connection, folder, projectId, volumeId } = JSON.parse(process.argv[2] ?? '{}') as AuditedBackupOrder;
const database = openDatabase({ connection, poolMax: 8, log: silentLog });
const cloud = await startBackupCloud({ folder, held: { database, connection, drop: () => database.close() } });

const point = process.env.STILLPOINT_CRASH_POINT;
if (point !== undefined) {
  armCrashPoint(point, 'kill');
  await cloud.backups.create(callerOf(projectId), backupOrder({ volumeId, incremental: true }));
}
const unfinished = () => database.sql.selectFrom('sagas').select('id').where('status', 'in', ['pending', 'running', 'undoing']).execute();
while ((await unfinished()).length > 0) await pause(50);
await cloud.stop();
await database.close();
