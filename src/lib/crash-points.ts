/**
 * Named instants at which a test may end the process, hold it, or make an effect fail.
 *
 * Production code marks the instants that matter (before, inside and after each outside effect); nothing happens
 * there unless the composition root armed one of them. The kill tests arm them one by one.
 */
/** `stop`: the process stands still, as after SIGSTOP, until somebody sends SIGCONT; then it goes on unharmed. */
export type CrashAction = 'kill' | 'fail' | 'stop';

interface ArmedPoint {
  readonly name: string;
  readonly action: CrashAction;
  remainingHits: number;
}

let armed: ArmedPoint | undefined;
let recorder: { readonly names: Set<string>; readonly onFirst: ((name: string) => void) | undefined } | undefined;

/** Arms one point. `afterHits` = how many times the point is passed unharmed first. Called by composition roots and tests only. */
export function armCrashPoint(name: string, action: CrashAction, afterHits = 0): void {
  armed = { name, action, remainingHits: afterHits };
}

export function disarmCrashPoints(): void {
  armed = undefined;
}

/** From now on keeps the names that are passed, in order, and tells each when it is passed first. For tests that go through them one by one. */
export function recordCrashPoints(onFirst?: (name: string) => void): { stop(): string[] } {
  const own = { names: new Set<string>(), onFirst };
  recorder = own;
  return {
    stop() {
      if (recorder === own) recorder = undefined;
      return [...own.names];
    },
  };
}

/** Marks an instant. Ends or stops the process, or throws, when a test armed this name. */
export function crashPoint(name: string): void {
  if (recorder !== undefined && !recorder.names.has(name)) {
    recorder.names.add(name);
    recorder.onFirst?.(name);
  }
  if (armed === undefined || armed.name !== name) return;
  if (armed.remainingHits > 0) {
    armed.remainingHits -= 1;
    return;
  }
  const { action } = armed;
  armed = undefined;
  if (action === 'kill') process.kill(process.pid, 'SIGKILL');
  if (action === 'stop') {
    process.kill(process.pid, 'SIGSTOP');
    return;
  }
  throw new Error(`crash point ${name} was armed to fail`);
}
