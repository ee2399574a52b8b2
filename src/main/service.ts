/** Starts and stops one service: what it stands on first (folders, database), then the cloud, then the front door. */
import { join } from 'node:path';
import pino from 'pino';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../cloud/database/embedded-postgres.ts';
import { migrate } from '../cloud/database/migrations.ts';
import { type ConnectionTarget, type Database, openDatabase } from '../cloud/database/service.ts';
import type { Log } from '../lib/log.ts';
import { type Ballast, createBallast } from './ballast.ts';
import { composeCloud } from './compose.ts';
import type { Config } from './config.ts';
import { openFrontDoor } from './front-door.ts';
import { adminPassword, lockStateDir, makeStateDir, type StatePaths, sealingKey, writeCredentials } from './state-dir.ts';

export interface RunningService {
  readonly url: string;
  stop(): Promise<void>;
}

const databaseConnectionsMax = 16;

export async function startService(config: Config): Promise<RunningService> {
  const paths = makeStateDir(config);
  const undo: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.toReversed()) await step();
  };
  try {
    return { url: await start(config, paths, undo), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(config: Config, paths: StatePaths, undo: (() => Promise<void>)[]): Promise<string> {
  const log = pino({ level: config.logLevel, serializers: { error: pino.stdSerializers.err } }, pino.destination({ dest: 2, sync: true }));
  const lock = await lockStateDir(paths.root);
  undo.push(async () => lock.release());
  const ballast = createBallast({ path: paths.ballast, sizeBytes: config.ballastBytes, log });
  undo.push(() => ballast.stop());
  await ballast.giveUp('the service starts');
  const { database, connection } = await startDatabase(config, log, ballast, undo);
  ballast.watch();
  const cloud = await composeCloud({ config, paths, database, connection, ballast, sealingKey: await sealingKey(paths), log });
  undo.push(() => cloud.stop());
  const password = await adminPassword(paths);
  await cloud.prepare({
    adminPassword: password,
    repositoryPath: join(paths.repositories, 'default'),
    keyFile: join(paths.keys, 'default.key'),
  });
  const door = await openFrontDoor({ config, cloud, log });
  undo.push(() => door.close());
  await writeCredentials(paths, { publicUrl: config.publicUrl ?? door.url, userName: 'admin', password, projectName: 'admin' });
  await cloud.startWorking();
  return door.url;
}

async function startDatabase(
  config: Config,
  log: Log,
  ballast: Ballast,
  undo: (() => Promise<void>)[],
): Promise<{ database: Database; connection: ConnectionTarget }> {
  let embedded: EmbeddedPostgres | undefined;
  if (config.databaseUrl === undefined) {
    embedded = await startEmbeddedPostgres({ stateDir: config.stateDir, runtimeDir: config.runtimeDir, log, makeSpace: ballast.giveUp });
    undo.push(() => embedded?.stop() ?? Promise.resolve());
  }
  const connection = embedded?.connection ?? config.databaseUrl;
  if (connection === undefined) throw new Error('there is no database to connect to');
  const database = openDatabase({ connection, poolMax: databaseConnectionsMax, log });
  undo.push(() => database.close());
  await migrate(database, join(import.meta.dirname, '../../migrations'));
  return { database, connection };
}
