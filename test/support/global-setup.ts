/** One real PostgreSQL for all tests of a run, in a directory of its own; `database.ts` makes databases in it. */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../src/cloud/database/embedded-postgres.ts';
import { silentLog } from '../../src/lib/log.ts';
import { makeTemplate, type TestServer } from './database.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    readonly postgres: TestServer;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const root = await mkdtemp(join(tmpdir(), 'stillpoint-test-'));
  await chmod(root, 0o711);
  const postgres = await startEmbeddedPostgres({
    stateDir: join(root, 'state'),
    runtimeDir: join(root, 'run'),
    log: silentLog,
    durable: false,
    ballastBytes: 0,
  });
  await makeTemplate(postgres.connection);
  project.provide('postgres', postgres.connection);
  return async () => {
    await postgres.stop();
    await rm(root, { recursive: true, force: true });
  };
}
