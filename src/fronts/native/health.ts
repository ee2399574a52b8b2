import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import type { Database } from '../../cloud/database/service.ts';

export interface HealthDeps {
  readonly database: Database;
}

/** A database that takes longer than this is as good as none to whoever asks. */
const answerWithinMs = 2_000;

/** `/healthz`, without a token: 200 `ok` when requests can be served, 503 otherwise. It tells strangers nothing more. */
export function healthRoutes(app: FastifyInstance, { database }: HealthDeps): void {
  app.get('/healthz', { logLevel: 'silent' }, async (_request, reply) => {
    reply.type('text/plain; charset=utf-8').header('cache-control', 'no-store');
    return (await answers(database)) ? 'ok\n' : reply.code(503).send('the database does not answer\n');
  });
}

async function answers(database: Database): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, answerWithinMs, false);
  });
  const asked = sql`SELECT 1`.execute(database.sql).then(
    () => true,
    () => false,
  );
  const answered = await Promise.race([asked, tooLate]);
  clearTimeout(timer);
  return answered;
}
