/**
 * The PostgreSQL that the service brings along: real, durable, on a unix socket only, one per state directory.
 *
 * What can go wrong, and why it is done this way:
 * - the service dies: the server stays (its own session) and is adopted by the next start, so nothing has to be recovered;
 * - the server dies, or gives up on a full disk: it is started again, after `makeSpace` where it lacks space, and tried until it starts;
 * - two services on one state directory: an advisory lock, held as long as a service lives, lets only one in;
 * - a first start is interrupted: the cluster is made beside its place and renamed into it.
 *
 * Anybody who reaches the socket may do anything (`trust`), so the socket lies in a directory of mode 0700.
 */
import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, rename, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { ConnectionTarget } from './connection.ts';
import { findPrograms } from './postgres-programs.ts';
import { findPostmaster, isAlive, type Postmaster, type PostmasterPlan, startPostmaster, stopPostmaster } from './postmaster.ts';
import { type Account, blockedAt, grantPassage, serviceAccount } from './service-account.ts';

export interface EmbeddedPostgresOptions {
  readonly stateDir: string;
  /** Short: the path of a socket below it may have 107 bytes. */
  readonly runtimeDir: string;
  readonly log: Log;
  /** Off in tests only: commits then survive the death of a process, not that of the machine. */
  readonly durable?: boolean;
  /** Asked when the server does not start; true when there is more space on the disk now than before. */
  readonly makeSpace?: (reason: string) => Promise<boolean>;
}

export interface EmbeddedPostgres {
  readonly connection: Exclude<ConnectionTarget, string>;
  /** Ends the server cleanly. The service must have closed its own connections. */
  stop(): Promise<void>;
}

const superuser = 'stillpoint';
const databaseName = 'stillpoint';
const socketPathBytesMax = 107;
const socketName = '.s.PGSQL.5432';
const logBytesMax = 16 * 2 ** 20;
const watchEveryMs = 500;
const restartPauseMsMax = 30_000;
// "SP" and a room number: which service owns the state directory.
const instanceLock = 0x5350_0001;
const instanceLockAttempts = 20;

const run = promisify(execFile);

export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const durable = options.durable ?? true;
  const plan = await prepare(options, durable);
  const makeSpace = options.makeSpace ?? (async () => false);
  let postmaster = await bringUp(plan, makeSpace);
  const connection = { host: postmaster.socketDir, port: 5432, user: superuser, database: databaseName };
  let instance: pg.Client | undefined = await claimInstance(connection, options.stateDir);
  await createDatabase(instance);

  const stopping = new AbortController();
  const watching = watch();

  async function watch(): Promise<void> {
    for (let pauseMs = watchEveryMs; !stopping.signal.aborted; ) {
      await pause(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {});
      if (stopping.signal.aborted || (await isAlive(postmaster, plan.dataDir))) continue;
      options.log.error({ processId: postmaster.processId }, 'PostgreSQL is gone; starting it again');
      try {
        postmaster = await bringUp(plan, makeSpace);
        instance?.end().catch(() => {});
        instance = await claimInstance(connection, options.stateDir);
        pauseMs = watchEveryMs;
      } catch (error) {
        pauseMs = Math.min(pauseMs * 2, restartPauseMsMax);
        options.log.error({ error: messageOf(error), nextTryMs: pauseMs }, 'PostgreSQL does not start');
      }
    }
  }

  return {
    connection,
    async stop() {
      stopping.abort();
      await watching;
      await instance?.end().catch(() => {});
      await stopPostmaster(postmaster, plan.dataDir);
    },
  };
}

/** Directories, programs, and (the first time) the cluster. */
async function prepare(options: EmbeddedPostgresOptions, durable: boolean): Promise<PostmasterPlan> {
  const account = await serviceAccount();
  const home = join(options.stateDir, 'postgres');
  const socketDir = join(options.runtimeDir, 'postgres');
  const socketBytes = Buffer.byteLength(join(socketDir, socketName));
  if (socketBytes > socketPathBytesMax) {
    throw new Error(
      `the runtime directory ${options.runtimeDir} is too long: a socket below it would have ${socketBytes} bytes, ${socketPathBytesMax} is the limit`,
    );
  }
  for (const parent of [options.stateDir, options.runtimeDir]) {
    await mkdir(parent, { recursive: true, mode: 0o711 });
    await grantPassage(parent, account);
    const blocked = await blockedAt(parent, account);
    if (blocked !== undefined) {
      throw new Error(
        `PostgreSQL runs as user id ${account.uid}, which cannot pass ${blocked}; choose another directory or "chmod o+x ${blocked}"`,
      );
    }
  }
  for (const directory of [home, socketDir]) await ownDirectory(directory, account);
  const programs = await findPrograms(home, account);
  const dataDir = join(home, 'data');
  await makeCluster({ initdb: programs.initdb, dataDir, account, durable });
  const logFile = join(home, 'log');
  if (((await stat(logFile).catch(() => undefined))?.size ?? 0) > logBytesMax) await truncate(logFile);
  return { program: programs.postgres, dataDir, socketDir, logFile, account, settings: settingsOf(durable) };
}

async function ownDirectory(path: string, account: Account): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await chmod(path, 0o700);
  if (process.getuid?.() === 0) await chown(path, account.uid, account.gid);
}

async function makeCluster(plan: { initdb: string; dataDir: string; account: Account; durable: boolean }): Promise<void> {
  if ((await stat(join(plan.dataDir, 'PG_VERSION')).catch(() => undefined)) !== undefined) return;
  const partial = `${plan.dataDir}.partial`;
  await rm(partial, { recursive: true, force: true });
  const flags = ['-D', partial, '-U', superuser, '--auth-local=trust', '--auth-host=reject', '--encoding=UTF8', '--locale=C'];
  const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--no-instructions', ...(plan.durable ? [] : ['--no-sync'])];
  const asAccount = process.getuid?.() === 0 ? plan.account : {};
  await run(plan.initdb, [...flags, ...locale], { cwd: '/', env: { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/bin:/bin' }, ...asAccount });
  await rename(partial, plan.dataDir);
}

function settingsOf(durable: boolean): Record<string, string> {
  const flush = durable ? 'on' : 'off';
  return {
    listen_addresses: '',
    unix_socket_permissions: '0700',
    max_connections: '100',
    shared_buffers: '64MB',
    // Said although they are the defaults: the product's promises rest on them.
    fsync: flush,
    synchronous_commit: 'on',
    full_page_writes: flush,
    min_wal_size: '32MB',
    max_wal_size: '512MB',
    // Disks without an arm: looking into an index is hardly dearer than reading on. With the default all rows of a small table are read instead.
    random_page_cost: '1.1',
    // Small machines: no processes for parallel queries or for reading ahead, no compilation of short queries.
    io_method: 'sync',
    max_parallel_workers: '0',
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %a ',
    // An administrator ends our sessions when the service stops; that is no news.
    log_min_messages: 'warning',
    log_checkpoints: 'off',
  };
}

/** Adopts the server that survived, or starts one; again for as long as there is space to be made for it. */
async function bringUp(plan: PostmasterPlan, makeSpace: (reason: string) => Promise<boolean>): Promise<Postmaster> {
  const found = await findPostmaster(plan.dataDir);
  if (found !== undefined) {
    if (found.ready) return found;
    return waitForReady(plan, found);
  }
  for (;;) {
    try {
      return await startPostmaster(plan);
    } catch (error) {
      if (!(await makeSpace(messageOf(error)))) throw error;
    }
  }
}

/** A server in recovery, or one that is just shutting down for the service before us. */
async function waitForReady(plan: PostmasterPlan, first: Postmaster): Promise<Postmaster> {
  for (;;) {
    const found = await findPostmaster(plan.dataDir);
    if (found === undefined) return startPostmaster(plan);
    if (found.ready) return found;
    if (found.processId !== first.processId) return waitForReady(plan, found);
    await pause(10);
  }
}

async function claimInstance(connection: Exclude<ConnectionTarget, string>, stateDir: string): Promise<pg.Client> {
  const client = new pg.Client({ ...connection, database: 'postgres', application_name: 'stillpoint instance' });
  client.on('error', () => {});
  await client.connect();
  for (let attempt = 1; ; attempt += 1) {
    const { rows } = await client.query<{ claimed: boolean }>('SELECT pg_try_advisory_lock($1) AS claimed', [instanceLock]);
    if (rows[0]?.claimed === true) return client;
    if (attempt >= instanceLockAttempts) break;
    // The session of a service that was just killed may still be ending.
    await pause(100);
  }
  await client.end();
  throw new Error(`another service already uses the state directory ${stateDir}`);
}

async function createDatabase(client: pg.Client): Promise<void> {
  const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [databaseName]);
  if (rowCount === 0) await client.query(`CREATE DATABASE ${databaseName}`);
}
