/** What Identity keeps for others: policies as texts, and consumers of OAuth with their secrets. */
import { randomBytes } from 'node:crypto';
import { newHexId } from '../../lib/ids.ts';
import type { Database } from '../database/service.ts';
import { createRecords, type Records } from './records.ts';
import type { Sealing } from './sealing.ts';
import type { ValidToken } from './token.ts';

export interface Policy {
  readonly id: string;
  readonly type: string;
  readonly blob: string;
}

export interface Consumer {
  readonly id: string;
  readonly description: string | null;
  /** Sealed. */
  readonly secret: Buffer;
}

export interface Consumers extends Omit<Records<Consumer>, 'create' | 'update'> {
  /** The secret is shown this once. */
  create(asker: ValidToken, description: string | null): Promise<{ readonly consumer: Consumer; readonly secret: string }>;
  update(asker: ValidToken, id: string, description: string | null | undefined): Promise<Consumer>;
}

export const createPolicies = ({ database }: { database: Database }): Records<Policy> =>
  createRecords<Policy>(
    { database },
    {
      noun: 'policy',
      listAction: 'list_policies',
      createAction: 'create_policy',
      table: 'policies',
      columns: { id: 'id', type: 'type', blob: 'blob' },
    },
  );

export function createConsumers({ database, sealing }: { database: Database; sealing: Sealing }): Consumers {
  const records = createRecords<Consumer>(
    { database },
    {
      noun: 'consumer',
      listAction: 'list_consumers',
      createAction: 'create_consumer',
      table: 'oauth_consumers',
      columns: { id: 'id', description: 'description', secret: 'secret' },
    },
  );
  return {
    ...records,
    async create(asker, description) {
      const id = newHexId();
      const secret = randomBytes(32).toString('hex');
      return { consumer: await records.create(asker, { id, description, secret: sealing.seal(id, secret) }), secret };
    },
    update: (asker, id, description) => records.update(asker, id, { description }),
  };
}
