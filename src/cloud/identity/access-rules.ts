/**
 * What application credentials may be used for. Rules belong to a user and are shared by the credentials that name the same; they stay
 * when a credential goes, until the user deletes them.
 */
import { forbidden } from '../../lib/errors.ts';
import { newHexId } from '../../lib/ids.ts';
import { type Database, isForeignKeyViolation, type Tx } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { couldNotFind } from './refusals.ts';
import type { AccessRule, ValidToken } from './token.ts';

/** One that is there already, or one that is made now. */
export type NewAccessRule = { readonly id: string } | Omit<AccessRule, 'id'>;

export interface AccessRules {
  list(asker: ValidToken, userId: string): Promise<AccessRule[]>;
  get(asker: ValidToken, userId: string, id: string): Promise<AccessRule>;
  /** Refused while a credential has it. */
  delete(asker: ValidToken, userId: string, id: string): Promise<void>;
}

const columns = ['id', 'service', 'method', 'path'] as const;

export function createAccessRules({ database }: { database: Database }): AccessRules {
  return {
    async list(asker, userId) {
      authoriseDirectory(asker, 'list_access_rules', { userId });
      return database.sql.selectFrom('access_rules').select(columns).where('user_id', '=', userId).orderBy('id').execute();
    },
    async get(asker, userId, id) {
      authoriseDirectory(asker, 'get_access_rule', { userId });
      const rule = await findRule(database.sql, userId, id);
      if (rule === undefined) throw couldNotFind('access_rule', id);
      return rule;
    },
    async delete(asker, userId, id) {
      authoriseDirectory(asker, 'delete_access_rule', { userId });
      try {
        const query = database.sql.deleteFrom('access_rules').where('id', '=', id).where('user_id', '=', userId);
        if ((await query.executeTakeFirst()).numDeletedRows === 0n) throw couldNotFind('access_rule', id);
      } catch (error) {
        if (isForeignKeyViolation(error))
          throw forbidden(`Access rule ${id} is in use by an application credential and cannot be deleted.`);
        throw error;
      }
    },
  };
}

type Sql = Database['sql'] | Tx['sql'];

function findRule(db: Sql, userId: string, id: string): Promise<AccessRule | undefined> {
  return db.selectFrom('access_rules').select(columns).where('id', '=', id).where('user_id', '=', userId).executeTakeFirst();
}

/** The rules as rows, each once. */
export async function keepAccessRules(db: Sql, userId: string, rules: readonly NewAccessRule[]): Promise<AccessRule[]> {
  const kept = new Map<string, AccessRule>();
  for (const rule of rules) {
    const row = 'id' in rule ? await findRule(db, userId, rule.id) : await keepRule(db, userId, rule);
    if (row === undefined) throw couldNotFind('access_rule', 'id' in rule ? rule.id : '');
    kept.set(row.id, row);
  }
  return [...kept.values()];
}

function keepRule(db: Sql, userId: string, { service, method, path }: Omit<AccessRule, 'id'>): Promise<AccessRule | undefined> {
  return (
    db
      .insertInto('access_rules')
      .values({ id: newHexId(), user_id: userId, service, method, path })
      // The update changes nothing, but gives the row back and holds it.
      .onConflict((conflict) => conflict.columns(['user_id', 'service', 'method', 'path']).doUpdateSet({ user_id: userId }))
      .returning(columns)
      .executeTakeFirst()
  );
}
