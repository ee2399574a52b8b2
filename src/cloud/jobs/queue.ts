/**
 * The durable queue beside the saga rows, for sagas that nobody has taken yet: an entry is written in the transaction that writes the row and does
 * nothing but wake a runner.
 *
 * A process whose slots are all in use delays the entry, so that it only matters when none becomes free; one that runs no sagas (an API process
 * without a runner) sends it at once, and LISTEN/NOTIFY brings it to a runner. Who may run a saga is decided by its
 * row alone, so an entry that is delivered twice, late or never does no harm: runners also look for work by themselves.
 */
import { CompiledQuery } from 'kysely';
import { PgBoss } from 'pg-boss';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { type ConnectionTarget, clientConfig } from '../database/connection.ts';
import type { Tx } from '../database/service.ts';

export interface SagaQueue {
  send(tx: Tx, sagaId: string, delaySeconds: number): Promise<void>;
  /** Calls `wake` with the sagas whose time has come. */
  listen(wake: (sagaIds: readonly string[]) => void): Promise<void>;
  close(): Promise<void>;
}

const queueName = 'sagas';
const connectionsMax = 2;
const batchSize = 50;
const pollSeconds = 2;
const keptSeconds = 600;

export async function openSagaQueue(options: { connection: ConnectionTarget; log: Log }): Promise<SagaQueue> {
  const { types, connectionTimeoutMillis, ...connection } = clientConfig(options.connection, 'stillpoint queue');
  const boss = new PgBoss({
    ...(connection as ConstructorParameters<typeof PgBoss>[0] & object),
    max: connectionsMax,
    useListenNotify: true,
    schedule: false,
    // A measure for its own benchmarks; our rows are few and short-lived.
    monitorVacuum: false,
  });
  boss.on('error', (error) => options.log.warn({ error: messageOf(error) }, 'the job queue had an error'));
  boss.on('warning', (warning) => options.log.debug({ warning }, 'the job queue warns'));
  await boss.start();
  if ((await boss.getQueue(queueName)) === null) {
    await boss.createQueue(queueName, { notify: true, retryLimit: 0, expireInSeconds: 3600, deleteAfterSeconds: keptSeconds });
  }

  return {
    async send(tx, sagaId, delaySeconds) {
      const db = {
        executeSql: async (text: string, values: unknown[] = []) => ({
          rows: (await tx.sql.executeQuery(CompiledQuery.raw(text, values))).rows,
        }),
      };
      await boss.send(queueName, { sagaId }, { db, ...(delaySeconds > 0 ? { startAfter: delaySeconds } : {}) });
    },
    async listen(wake) {
      const polling = { pollingIntervalSeconds: pollSeconds, notifyPollingIntervalSeconds: pollSeconds, batchSize };
      await boss.work<{ sagaId: string }>(queueName, polling, async (entries) => wake(entries.map((entry) => entry.data.sagaId)));
    },
    close: () => boss.stop({ graceful: false }),
  };
}
