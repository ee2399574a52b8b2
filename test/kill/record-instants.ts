import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { signIn } from '../support/api.ts';
import { startServiceUnderTest } from '../support/service.ts';
import type { PreparedScene, Scene } from './scene.ts';

const quotas = { volumes: -1, snapshots: -1, gigabytes: -1, backups: -1, backup_gigabytes: -1 };

/** Runs the operation once, unharmed, and returns the names of the instants that it passed. */
export async function recordInstants(
  scene: Scene,
  stateDir: string,
  folder: string,
): Promise<{ prepared: PreparedScene; points: string[] }> {
  const log = join(folder, 'instants');
  const first = await startServiceUnderTest(stateDir);
  const api = await signIn(first);
  await api.volume('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: quotas });
  const prepared = await scene.prepare(api, folder);
  await first.stop();
  const second = await startServiceUnderTest(stateDir, { STILLPOINT_CRASH_POINT_LOG: log });
  await prepared.operate(await signIn(second));
  await second.stop();
  const names = (await readFile(log, 'utf8')).split('\n').filter((name) => name !== '');
  return { prepared, points: [...new Set(names)] };
}
