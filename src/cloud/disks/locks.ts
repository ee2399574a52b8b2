/**
 * Locks that keep the work on one disk, and on the tree of layers, from overlapping: in this process and across processes.
 *
 * Work on a volume's disk holds an advisory lock of the session for as long as it takes, and does all its own queries on that very session.
 * So when the session is lost, the lock is gone, but so is the ability to write rows: a half-done effect is never recorded by a worker that
 * lost its lock. Within the process the waiters queue up before they take a connection, so that they cannot use up the pool.
 */
import { type Kysely, sql as query, type Transaction } from 'kysely';
import type { Database, Schema } from '../database/service.ts';

export type Sql = Kysely<Schema>;

/** First halves of two-part advisory keys; the second half is a hash of the id. */
const volumeLockClass = 0x5350_0001;
const treeLockClass = 0x5350_0002;
const tidyLockClass = 0x5350_0003;

export interface VolumeLocks {
  /** Runs `work` alone on the volume. Its queries go through the `sql` that it is given. */
  withVolume<T>(volumeId: string, work: (sql: Sql) => Promise<T>): Promise<T>;
  /** Runs `work` alone on all of them, on one session. Taken in one order by everybody, so that nobody waits in a circle. */
  withVolumes<T>(volumeIds: readonly string[], work: (sql: Sql) => Promise<T>): Promise<T>;
  /** As `withVolume`, unless somebody works on the volume: then `undefined`, at once. */
  tryWithVolume<T>(volumeId: string, work: (sql: Sql) => Promise<T>): Promise<T | undefined>;
  /** One tidy at a time among all processes. `undefined` when another one runs. */
  tryTidy<T>(work: (sql: Sql) => Promise<T>): Promise<T | undefined>;
  /** Returns once no tidy runs in any other process: at once while one runs in this. */
  afterTidy(): Promise<void>;
}

export function createVolumeLocks(database: Database): VolumeLocks {
  /** The end of each volume's queue in this process. */
  const queues = new Map<string, Promise<void>>();
  let tidying = false;

  /** Enters all queues at once, so that nobody comes in between, and no two wait for each other. */
  async function inQueues<T>(volumeIds: readonly string[], work: () => Promise<T>): Promise<T> {
    const before = volumeIds.map((id) => queues.get(id));
    const { promise: mine, resolve: leave } = Promise.withResolvers<void>();
    for (const id of volumeIds) queues.set(id, mine);
    try {
      await Promise.all(before);
      return await work();
    } finally {
      leave();
      for (const id of volumeIds) if (queues.get(id) === mine) queues.delete(id);
    }
  }

  const lockedAll = async <T>(sql: Sql, [first, ...others]: readonly string[], work: () => Promise<T>): Promise<T> => {
    if (first === undefined) return await work();
    await query`SELECT pg_advisory_lock(${query.lit(volumeLockClass)}, hashtext(${first}))`.execute(sql);
    return await untilUnlocked(sql, volumeLockClass, first, () => lockedAll(sql, others, work));
  };

  return {
    withVolumes(volumeIds, work) {
      const ids = [...new Set(volumeIds)].sort();
      return inQueues(ids, () => database.sql.connection().execute((sql) => lockedAll(sql, ids, () => work(sql))));
    },
    withVolume: (volumeId, work) =>
      inQueues([volumeId], () => database.sql.connection().execute((sql) => lockedAll(sql, [volumeId], () => work(sql)))),
    async tryWithVolume(volumeId, work) {
      if (queues.has(volumeId)) return undefined;
      return await inQueues([volumeId], () =>
        database.sql.connection().execute((sql) => tryLocked(sql, volumeLockClass, volumeId, () => work(sql))),
      );
    },
    tryTidy: (work) =>
      database.sql.connection().execute((sql) =>
        tryLocked(sql, tidyLockClass, '', async () => {
          tidying = true;
          try {
            return await work(sql);
          } finally {
            tidying = false;
          }
        }),
      ),
    async afterTidy() {
      if (tidying) return;
      await database.sql.connection().execute(async (sql) => {
        await query`SELECT pg_advisory_lock_shared(${query.lit(tidyLockClass)}, hashtext(''))`.execute(sql);
        await query`SELECT pg_advisory_unlock_shared(${query.lit(tidyLockClass)}, hashtext(''))`.execute(sql);
      });
    },
  };
}

async function tryLocked<T>(sql: Sql, lockClass: number, name: string, work: () => Promise<T>): Promise<T | undefined> {
  const { rows } = await query<{
    taken: boolean;
  }>`SELECT pg_try_advisory_lock(${query.lit(lockClass)}, hashtext(${name})) AS taken`.execute(sql);
  return rows[0]?.taken === true ? await untilUnlocked(sql, lockClass, name, work) : undefined;
}

async function untilUnlocked<T>(sql: Sql, lockClass: number, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await query`SELECT pg_advisory_unlock(${query.lit(lockClass)}, hashtext(${name}))`.execute(sql);
  }
}

/**
 * The lock on the shape of the tree, for short transactions only. Who is about to open a chain takes it `shared` while the mark that says
 * so becomes visible; who is about to merge or remove layers takes it `alone` and looks at the marks afterwards. So one of the two sees the other.
 */
export async function lockTree(tx: Transaction<Schema>, how: 'shared' | 'alone'): Promise<void> {
  const name = how === 'shared' ? query.raw('pg_advisory_xact_lock_shared') : query.raw('pg_advisory_xact_lock');
  await query`SELECT ${name}(${query.lit(treeLockClass)}, 0)`.execute(tx);
}
