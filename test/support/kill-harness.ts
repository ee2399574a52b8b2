/**
 * Ends a real process with SIGKILL at a marked instant, lets a second one go on, and has the outcome checked.
 *
 * The test gives a script and its arguments. The script arms the point that `STILLPOINT_CRASH_POINT` names (as the service does), orders
 * the saga when it runs with `STILLPOINT_CRASH_POINT`, and exits with 0 once everything has settled.
 */
import { spawn } from 'node:child_process';

export interface KillProof {
  readonly script: string;
  readonly points: readonly string[];
  /** Makes everything anew for one point and returns the script's arguments. */
  readonly prepare: (point: string) => Promise<readonly string[]>;
  /** Throws when something does not hold that must hold. */
  readonly check: (point: string) => Promise<void>;
  readonly cleanUp?: (point: string) => Promise<void>;
}

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

const childWithinMs = 60_000;

export async function proveKills(proof: KillProof): Promise<void> {
  for (const point of proof.points) {
    try {
      await killOnce(proof, point);
    } catch (error) {
      throw new Error(`killed at ${point}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    } finally {
      await proof.cleanUp?.(point);
    }
  }
}

async function killOnce(proof: KillProof, point: string): Promise<void> {
  const parameters = await proof.prepare(point);
  const first = await runScript(proof.script, parameters, { STILLPOINT_CRASH_POINT: point });
  if (first.signal !== 'SIGKILL') throw new Error(`the process was not killed: code ${first.code}, ${first.signal}: ${first.output}`);
  const second = await runScript(proof.script, parameters, {});
  if (second.code !== 0) throw new Error(`the second process ended with code ${second.code}, ${second.signal}: ${second.output}`);
  await proof.check(point);
}

/** Runs a TypeScript file with this Node and returns how it ended. */
export function runScript(script: string, parameters: readonly string[], environment: Record<string, string>): Promise<ChildEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...parameters], {
      env: { PATH: process.env.PATH ?? '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: childWithinMs,
      killSignal: 'SIGTERM',
    });
    let output = '';
    const collect = (part: Buffer): void => {
      output = (output + part.toString('utf8')).slice(-8_000);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, output }));
  });
}
