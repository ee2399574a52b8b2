/** Databases for tests: real PostgreSQL, fresh for each call, with the product's schema in it. */
import { inject } from 'vitest';
import type { Log } from '../../src/lib/log.ts';
import { makeDatabase, type TestDatabase } from './database-server.ts';

export type { TestDatabase, TestServer } from './database-server.ts';

/** Makes a fresh, migrated database on the server of this test run. */
export function testDatabase(options: { poolMax?: number; log?: Log } = {}): Promise<TestDatabase> {
  return makeDatabase(inject('postgres'), options);
}
