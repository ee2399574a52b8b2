/**
 * A check of the disks with repairs, in a process of its own, for tests that kill it. Arguments: the database's connection and the folder. With
 * `STILLPOINT_CRASH_POINT` it is killed at that point; without, it is the next process, and checks again until there is nothing left to do.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { openDatabase } from '../../src/cloud/database/service.ts';
import { createReconciler } from '../../src/cloud/disks/reconcile.ts';
import { createDisksService } from '../../src/cloud/disks/service.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import { createLayeredFiles } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { armCrashPoint } from '../../src/lib/crash-points.ts';
import { silentLog } from '../../src/lib/log.ts';

const [connectionText = '', folder = '', trashDaysText = '7'] = process.argv.slice(2);
const log = silentLog;
const database = openDatabase({ connection: JSON.parse(connectionText), poolMax: 4, log });
const backend = createLayeredFiles({
  root: join(folder, 'volumes'),
  runtimeDir: join(folder, 'run'),
  log,
  space: createSpaceAccount({ keptBytes: 0 }),
  confinement: createConfinement(),
});
const disks = createDisksService({ database, backend, log });
const { inventory } = backend;
const trashDays = Number(trashDaysText);
const volumes = { markDamaged: async () => false };
const reconciler = createReconciler({ database, backend, inventory, disks, volumes, clock: systemClock, log, trashDays, settleMs: 10 });
const point = process.env.STILLPOINT_CRASH_POINT;
if (point !== undefined) armCrashPoint(point, 'kill');
await reconciler.check({ repair: true, deep: false, signal: new AbortController().signal });
if (trashDays === 0) {
  // What has had its time goes when the service has looked for the first time.
  reconciler.begin();
  while ((await reconciler.trash()).count > 0) await pause(20);
}
await reconciler.stop();
await disks.stop();
await database.close();
