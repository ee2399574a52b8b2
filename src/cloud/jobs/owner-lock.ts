/**
 * The name under which this process owns sagas: a random number whose advisory lock a session of its own holds. The lock ends with
 * the session, however the process ends, so "is that owner dead?" needs no clock and no heartbeat row: its lock can be had, or not.
 *
 * When the session is lost while the process lives, others may take its sagas from that moment on. So everything that runs here is
 * told (`onLost`), and the process goes on under a new number. The session is asked something every few seconds, because a network
 * can lose a connection without saying so. It also hears the notifications of cancels.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type pg from 'pg';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import { sagaChannel } from './store.ts';

export interface OwnerLock {
  /** Undefined while there is no session. */
  current(): number | undefined;
  /** Resolves when the first session stands; later ones are made by themselves. */
  open(): Promise<void>;
  /** Asks the session for a sign of life, and gives it up when there is none. */
  check(): Promise<void>;
  close(): Promise<void>;
}

export interface OwnerLockOptions {
  readonly database: Database;
  readonly log: Log;
  /** Ownership under this number has ended. */
  readonly onLost: (owner: number) => void;
  /** A new number is held: what the dead left can be taken. */
  readonly onHeld: (owner: number) => void;
  readonly onCancel: (sagaId: string) => void;
}

const answerWithinMs = 5_000;
const reconnectPauseMs = 200;
const reconnectPauseMsMax = 5_000;

/** Six random bytes: never met twice, exact as a JavaScript number, and beyond the 32-bit numbers that other advisory locks use. */
function newOwner(): number {
  return 2 ** 48 + randomBytes(6).readUIntBE(0, 6);
}

export function createOwnerLock(options: OwnerLockOptions): OwnerLock {
  const { database, log } = options;
  let held: { owner: number; session: pg.Client } | undefined;
  const closing = new AbortController();
  let reconnecting: Promise<void> | undefined;

  async function hold(): Promise<void> {
    const session = await database.openSession('owner');
    const owner = newOwner();
    // From here on a broken session is heard; before, it fails one of these calls.
    session.on('error', (error) => lose(session, error.message));
    session.on('end', () => lose(session, 'the session ended'));
    session.on('notification', (message) => options.onCancel(message.payload ?? ''));
    try {
      await session.query('SELECT pg_advisory_lock($1)', [owner]);
      await session.query(`LISTEN ${sagaChannel}`);
    } catch (error) {
      await session.end().catch(() => {});
      throw error;
    }
    held = { owner, session };
    options.onHeld(owner);
  }

  function lose(session: pg.Client, reason: string): void {
    if (held?.session !== session) return;
    const { owner } = held;
    held = undefined;
    session.end().catch(() => {});
    if (closing.signal.aborted) return;
    log.warn({ owner, reason }, 'the ownership session was lost; sagas that ran here will be taken up again');
    options.onLost(owner);
    reconnecting = reconnect();
  }

  async function reconnect(): Promise<void> {
    for (let pauseMs = reconnectPauseMs; !closing.signal.aborted; pauseMs = Math.min(pauseMs * 2, reconnectPauseMsMax)) {
      try {
        return await hold();
      } catch (error) {
        log.warn({ error: messageOf(error) }, 'no ownership session yet');
        await pause(pauseMs, undefined, { signal: closing.signal }).catch(() => {});
      }
    }
  }

  return {
    current: () => held?.owner,
    open: hold,
    async check() {
      if (held === undefined) return;
      const { session } = held;
      const answered = session.query('SELECT 1').then(
        () => true,
        () => false,
      );
      const timeout = new AbortController();
      const late = pause(answerWithinMs, false, { signal: timeout.signal }).catch(() => false);
      const alive = await Promise.race([answered, late]);
      timeout.abort();
      if (!alive) lose(session, 'no answer');
    },
    async close() {
      closing.abort();
      await reconnecting;
      const session = held?.session;
      held = undefined;
      await session?.end().catch(() => {});
    },
  };
}
