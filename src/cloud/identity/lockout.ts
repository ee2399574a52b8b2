/**
 * Users who gave too many wrong passwords one after the other are locked out for a while: no password opens anything then, the right one
 * neither. Their tokens and application credentials go on.
 */
import { type Clock, timestampOf } from '../../lib/clock.ts';
import type { Database } from '../database/service.ts';
import { findLogin, forgetFailedLogins, noteFailedLogin, type UserKey, type UserLogin } from './directory-store.ts';
import type { Passwords } from './passwords.ts';

export interface LockoutPolicy {
  /** Wrong passwords in a row; 0 = nobody is locked out. */
  readonly attempts: number;
  readonly durationMs: number;
}

export const noLockout: LockoutPolicy = { attempts: 0, durationMs: 0 };

/** The user with this password, or undefined whatever is wrong. Takes as long either way. */
export type CheckPassword = (user: UserKey, password: string) => Promise<UserLogin | undefined>;

export interface LockoutDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly passwords: Passwords;
  readonly lockout: LockoutPolicy;
}

export function createCheckPassword({ database, clock, passwords, lockout }: LockoutDeps): CheckPassword {
  const since = () => timestampOf(new Date(clock.now().getTime() - lockout.durationMs));

  const isLocked = ({ options, failedLogins, failedLoginAt }: UserLogin): boolean =>
    options.ignore_lockout_failure_attempts !== true &&
    failedLogins >= lockout.attempts &&
    failedLoginAt !== null &&
    failedLoginAt > since();

  return async (user, password) => {
    const login = await findLogin(database.sql, user);
    const matches = await passwords.verify(password, login?.passwordHash);
    if (login === undefined) return undefined;
    if (lockout.attempts === 0) return matches ? login : undefined;
    // Read again: others may have guessed in the meantime, and guessing at once must not be guessing more often.
    const now = await findLogin(database.sql, { id: login.id });
    if (now === undefined || isLocked(now)) return undefined;
    if (!matches) {
      await noteFailedLogin(database.sql, login.id, clock.nowText(), since());
      return undefined;
    }
    if (now.failedLogins > 0) await forgetFailedLogins(database.sql, login.id);
    return login;
  };
}
