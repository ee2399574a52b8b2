/**
 * A process for the kill tests: begins one operation of backups when a crash point is armed; else waits until all sagas have ended.
 * Its one argument is JSON: where the database and the folder are, and the subject.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { openDatabase } from '../../src/cloud/database/service.ts';
import { armCrashPoint } from '../../src/lib/crash-points.ts';
import { silentLog } from '../../src/lib/log.ts';
import { startBackupCloud } from './backup-cloud.ts';
import { beginOperation, type Subject } from './backup-subject.ts';
import type { TestServer } from './database.ts';

interface Order {
  readonly connection: TestServer;
  readonly folder: string;
  readonly subject: Subject;
}

const { connection, folder, subject } = JSON.parse(process.argv[2] ?? '{}') as Order;
const database = openDatabase({ connection, poolMax: 8, log: silentLog });
const held = { database, connection, drop: () => database.close() };
const cloud = await startBackupCloud({ folder, held });

const point = process.env.STILLPOINT_CRASH_POINT;
if (point !== undefined) {
  armCrashPoint(point, 'kill');
  await cloud.jobs.settled(await beginOperation(cloud, subject));
}
const unfinished = () => database.sql.selectFrom('sagas').select('id').where('status', 'in', ['pending', 'running', 'undoing']).execute();
while ((await unfinished()).length > 0) await pause(50);
await cloud.stop();
await database.close();
