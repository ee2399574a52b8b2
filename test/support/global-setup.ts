/**
 * One real PostgreSQL for all tests of a run, in a directory of its own; `database.ts` makes databases in it. The server would outlive a run
 * that was killed (as it should outlive the service), so each run first ends what earlier ones left.
 */
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../src/cloud/database/embedded-postgres.ts';
import { findPostmaster, stopPostmaster } from '../../src/cloud/database/postmaster.ts';
import { silentLog } from '../../src/lib/log.ts';
import { makeTemplate, type TestServer } from './database.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    readonly postgres: TestServer;
  }
}

const rootPrefix = 'stillpoint-test-';
const ownerFile = 'vitest.pid';

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await endAbandoned();
  const root = await mkdtemp(join(tmpdir(), rootPrefix));
  await chmod(root, 0o711);
  await writeFile(join(root, ownerFile), String(process.pid));
  const postgres = await startEmbeddedPostgres({
    stateDir: join(root, 'state'),
    runtimeDir: join(root, 'run'),
    log: silentLog,
    durable: false,
    ballastBytes: 0,
  });
  const end = async (): Promise<void> => {
    await postgres.stop();
    await rm(root, { recursive: true, force: true });
  };
  await makeTemplate(postgres.connection).catch(async (error: unknown) => {
    await end();
    throw error;
  });
  project.provide('postgres', postgres.connection);
  return end;
}

/** Servers of runs whose process is gone. */
async function endAbandoned(): Promise<void> {
  for (const name of (await readdir(tmpdir())).filter((entry) => entry.startsWith(rootPrefix))) {
    const root = join(tmpdir(), name);
    const owner = Number(await readFile(join(root, ownerFile), 'utf8').catch(() => ''));
    if (!(owner > 0) || isAlive(owner)) continue;
    const dataDir = join(root, 'state', 'postgres', 'data');
    const server = await findPostmaster(dataDir);
    if (server !== undefined) await stopPostmaster(server, dataDir);
    await rm(root, { recursive: true, force: true });
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
