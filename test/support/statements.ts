/** The SQL statements that this process sends, as its driver sends them. */
import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { vi } from 'vitest';

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** Those that `work` sends, whatever else this process does meanwhile. */
export async function statementsOf(work: () => Promise<unknown>): Promise<Statement[]> {
  const statements: Statement[] = [];
  const inside = new AsyncLocalStorage<true>();
  const query = pg.Client.prototype.query;
  const spy = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (this: pg.Client, ...args: unknown[]) {
    if (inside.getStore() === undefined) return Reflect.apply(query, this, args);
    const [first, second] = args;
    const config = typeof first === 'string' ? { text: first, values: second } : (first as { text: string; values?: unknown });
    statements.push({ text: config.text, values: Array.isArray(config.values) ? config.values : Array.isArray(second) ? second : [] });
    return Reflect.apply(query, this, args);
  } as typeof query);
  try {
    await inside.run(true, async () => await work());
  } finally {
    spy.mockRestore();
  }
  return statements;
}
