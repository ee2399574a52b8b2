/** Tokens after they were issued: validation, revocation, sweeping. */
import type { Clock } from '../../lib/clock.ts';
import { notFound, type ProductError } from '../../lib/errors.ts';
import type { Database } from '../database/service.ts';
import { authoriseDirectory } from './directory-policy.ts';
import { hashOfToken, type ValidToken } from './token.ts';
import { deleteExpiredTokens, deleteToken, validToken } from './token-store.ts';

export interface Tokens {
  /** Who presents this token? Undefined when it is good for nothing (any more). One statement. */
  validate(secret: string): Promise<ValidToken | undefined>;
  /** What somebody's token is, for its holder or an admin. */
  describe(asker: ValidToken, secret: string): Promise<ValidToken>;
  revoke(asker: ValidToken, secret: string): Promise<void>;
  /** Removes expired rows, at most once a minute however often it is called. */
  sweep(): Promise<void>;
}

const sweepIntervalMs = 60_000;

const unknownToken = (): ProductError => notFound('Could not recognize the token that was given as subject.');

export function createTokens({ database, clock }: { database: Database; clock: Clock }): Tokens {
  let sweptAtMs = Number.NEGATIVE_INFINITY;

  async function validate(secret: string): Promise<ValidToken | undefined> {
    const hash = hashOfToken(secret);
    return hash === undefined ? undefined : validToken(database, hash, clock.nowText());
  }

  async function describe(asker: ValidToken, secret: string): Promise<ValidToken> {
    const token = await validate(secret);
    if (token === undefined) throw unknownToken();
    authoriseDirectory(asker, 'validate_token', { userId: token.user.id });
    return token;
  }

  return {
    validate,
    describe,
    async revoke(asker, secret) {
      const token = await validate(secret);
      if (token === undefined) throw unknownToken();
      authoriseDirectory(asker, 'revoke_token', { userId: token.user.id });
      const hash = hashOfToken(secret);
      if (hash !== undefined) await deleteToken(database.sql, hash);
    },
    async sweep() {
      const now = clock.now().getTime();
      if (now - sweptAtMs < sweepIntervalMs) return;
      sweptAtMs = now;
      await deleteExpiredTokens(database.sql, clock.nowText());
    },
  };
}
