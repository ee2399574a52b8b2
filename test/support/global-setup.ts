/** One real PostgreSQL for all tests of a run; `database.ts` makes databases in it. */
import type { TestProject } from 'vitest/node';
import { startDatabaseServer, type TestServer } from './database-server.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    readonly postgres: TestServer;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { server, stop } = await startDatabaseServer();
  project.provide('postgres', server);
  return stop;
}
