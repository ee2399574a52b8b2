/**
 * Work on a guest whose file systems stand still.
 *
 * A guest that stays frozen hangs with everything in it, so there is no way out of here that leaves it so: before the freeze is asked for, the caller
 * has written down that it may be (`arm`), and a process that dies meanwhile leaves that behind for the next one, which calls `thawGuest`. It is taken
 * back (`disarm`) only when the guest is known to be thawed, or gone. Also a freeze that failed or timed out is followed by a thaw: its hooks may have
 * half succeeded, and the guest may do late what nobody waits for any more.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../lib/errors.ts';
import type { GuestAgent } from './guest-agent.ts';
import { GuestAgentError } from './guest-agent-error.ts';

export interface FreezeOptions {
  /** Makes it durable that this guest may be frozen. Nothing is frozen when it rejects. */
  arm(): Promise<void>;
  /** The guest is not frozen any more. */
  disarm(): Promise<void>;
  /** For the guest's hooks, and for writing out what it holds in memory. Default: one minute. */
  readonly freezeMsMax?: number;
  /** How long the freeze may last once it is there. Default: ten seconds. */
  readonly holdMsMax?: number;
  /** How long a thaw is tried. Default: one minute. */
  readonly thawMsMax?: number;
}

export interface FrozenResult<T> {
  readonly value: T;
  readonly frozenFileSystems: number;
  /** From the freeze being sent to the thaw being answered: what programs in the guest may have waited at most. */
  readonly windowMs: number;
  /** True: all that was frozen stayed so until `work` had ended. */
  readonly held: boolean;
  /** Why it is not known to have held, for people. */
  readonly reason: string | undefined;
  /** With `unanswered` the guest may still be frozen: it stays armed, and somebody has to go on with `thawGuest`. */
  readonly guest: ThawedGuest['state'];
}

export interface ThawedGuest {
  readonly state: 'thawed' | 'gone' | 'unanswered';
  /** How many file systems were thawed by us; undefined when nobody counted. */
  readonly thawedFileSystems: number | undefined;
  /** What the agent, or the way to it, said instead. */
  readonly reason: string | undefined;
  /** `performance.now()` when the guest went on. */
  readonly endedAt: number;
}

const defaults = { freezeMsMax: 60_000, holdMsMax: 10_000, thawMsMax: 60_000 } as const;
const firstPauseMs = 50;
const pauseMsMax = 2_000;

/**
 * Freezes, works, thaws. `work` must not use the agent, and must end soon after its signal is aborted: then the freeze no longer holds, the guest was
 * thawed over its head. Rejects with what arming, freezing (`GuestAgentError`) or `work` rejected with.
 */
export async function withFrozenGuest<T>(
  agent: GuestAgent,
  options: FreezeOptions,
  work: (held: AbortSignal) => Promise<T>,
): Promise<FrozenResult<T>> {
  const { arm, disarm, freezeMsMax, holdMsMax, thawMsMax } = { ...defaults, ...options };
  // Getting in step with the agent costs time that the guest need not wait.
  await agent.ping();
  await arm();
  let thawing: Promise<ThawedGuest> | undefined;
  const thaw = (): Promise<ThawedGuest> => {
    thawing ??= thawAndDisarm(agent, thawMsMax, disarm);
    return thawing;
  };
  const sentAt = performance.now();
  const [frozen] = await Promise.allSettled([agent.freeze(freezeMsMax)]);
  if (frozen.status === 'rejected') {
    await Promise.allSettled([thaw()]);
    throw frozen.reason;
  }
  const watch = watchFreeze(holdMsMax, thaw);
  const [worked] = await Promise.allSettled([work(watch.signal)]);
  watch.stop();
  const [thawed] = await Promise.allSettled([thaw()]);
  if (worked.status === 'rejected') throw worked.reason;
  if (thawed.status === 'rejected') throw thawed.reason;
  const reason = watch.signal.aborted ? messageOf(watch.signal.reason) : whyNotHeld(frozen.value, thawed.value);
  const { state: guest, endedAt } = thawed.value;
  const windowMs = endedAt - sentAt;
  return { value: worked.value, frozenFileSystems: frozen.value, windowMs, held: reason === undefined, reason, guest };
}

async function thawAndDisarm(agent: GuestAgent, thawMsMax: number, disarm: () => Promise<void>): Promise<ThawedGuest> {
  const thawed = await thawGuest(agent, thawMsMax);
  if (thawed.state !== 'unanswered') await disarm();
  return thawed;
}

/** Thaws a guest whose freeze lasts too long, whatever its work is waiting for. */
function watchFreeze(holdMsMax: number, thaw: () => Promise<ThawedGuest>): { readonly signal: AbortSignal; stop(): void } {
  const aborter = new AbortController();
  const timer = setTimeout(() => {
    aborter.abort(new Error(`the guest was thawed after ${holdMsMax} ms, before the work on it had ended`));
    // Whoever waits for the work sees how it ends.
    thaw().catch(() => {});
  }, holdMsMax);
  return { signal: aborter.signal, stop: () => clearTimeout(timer) };
}

/** Counting is the only proof: the agent calls a guest frozen even when somebody in the guest has thawed it. */
function whyNotHeld(frozenFileSystems: number, { thawedFileSystems, reason }: ThawedGuest): string | undefined {
  if (thawedFileSystems !== undefined && thawedFileSystems >= frozenFileSystems) return undefined;
  // An answer that was lost may have been the one that counted.
  return reason ?? `only ${thawedFileSystems ?? 0} of ${frozenFileSystems} file systems were still frozen at the end`;
}

/**
 * Thaws a guest that may be frozen, until its agent says that it is not, or the machine is gone, or the time is over. Harmless for one that is not
 * frozen; its hooks are told of a thaw. Never rejects for what the agent does.
 */
export async function thawGuest(agent: GuestAgent, thawMsMax: number = defaults.thawMsMax): Promise<ThawedGuest> {
  const deadline = performance.now() + thawMsMax;
  let thawedFileSystems: number | undefined;
  let reason: string | undefined;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, pauseMsMax)) {
    const attempt = await tryToThaw(agent);
    if (attempt.thawedFileSystems !== undefined) thawedFileSystems = (thawedFileSystems ?? 0) + attempt.thawedFileSystems;
    reason = attempt.reason ?? reason;
    const isOver = attempt.state !== 'unanswered' || performance.now() + pauseMs > deadline;
    if (isOver) return { ...attempt, thawedFileSystems, reason };
    await sleep(pauseMs);
  }
}

async function tryToThaw(agent: GuestAgent): Promise<ThawedGuest> {
  let [thawedFileSystems, reason]: [number | undefined, string | undefined] = [undefined, undefined];
  try {
    thawedFileSystems = await agent.thaw();
  } catch (error) {
    if (!(error instanceof GuestAgentError)) throw error;
    reason = error.message;
    // Hooks that fail after the thaw are a refusal, too: the state tells.
    if (error.kind !== 'refused')
      return { state: isGone(error) ? 'gone' : 'unanswered', thawedFileSystems, reason, endedAt: performance.now() };
  }
  const endedAt = performance.now();
  try {
    const state = (await agent.freezeStatus()) === 'thawed' ? 'thawed' : 'unanswered';
    return { state, thawedFileSystems, reason, endedAt };
  } catch (error) {
    if (!(error instanceof GuestAgentError)) throw error;
    return { state: isGone(error) ? 'gone' : 'unanswered', thawedFileSystems, reason: reason ?? error.message, endedAt };
  }
}

/** Nobody listens on the socket: QEMU has ended, and the freeze with it. */
function isGone({ kind, cause }: GuestAgentError): boolean {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  return kind === 'not-connected' && (code === 'ENOENT' || code === 'ECONNREFUSED');
}
