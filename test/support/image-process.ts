/**
 * One process that works on images, for the kill tests. Arguments: folder, connection, image id, format. With `STILLPOINT_CRASH_POINT` it
 * makes the image, uploads to it, deletes it again when the third argument says so, and dies on the way; without, it settles what was left.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { openDatabase } from '../../src/cloud/database/service.ts';
import { armCrashPoint } from '../../src/lib/crash-points.ts';
import { silentLog } from '../../src/lib/log.ts';
import { caller, type Format, fileOf, makeImage, stageAndImport, upload } from './image-scenario.ts';
import { startImages } from './images.ts';

const [folder = '', connectionText = '', id = '', format = 'raw', work = 'upload'] = process.argv.slice(2);
const connection = JSON.parse(connectionText);
const database = openDatabase({ connection, poolMax: 4, log: silentLog });
const point = process.env.STILLPOINT_CRASH_POINT;
if (point !== undefined) armCrashPoint(point, 'kill');
const under = await startImages({ existing: { folder, db: { database, connection, drop: async () => {} } } });
if (point !== undefined) {
  await makeImage(under, format as Format, id);
  const data = await fileOf(format as Format);
  await (work === 'import' ? stageAndImport : upload)(under, id, data);
  if (work === 'delete') await under.images.delete(caller, id);
}
while ((await under.jobs.find(id)).some((saga) => !['done', 'failed', 'cancelled'].includes(saga.status))) await pause(20);
await under.stop();
await database.close();
