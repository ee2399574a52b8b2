/** Tortures the disks: one history after the other, each in a world of its own. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestServer } from '../support/database-server.ts';
import { type Counts, newCounts } from './counts.ts';
import { generateHistory } from './generate.ts';
import { runHistory } from './history.ts';
import { shrink } from './shrink.ts';
import { type Step, stepText } from './steps.ts';
import { World } from './world.ts';

export interface DisksTorture {
  readonly server: TestServer;
  readonly counts: Counts;
  readonly print: (text: string) => void;
  readonly seed: number;
  readonly minutes: number | undefined;
  readonly histories: number | undefined;
  readonly steps: number;
  readonly replay: readonly Step[] | undefined;
  readonly shrink: boolean;
}

interface Failure {
  readonly at: number;
  readonly message: string;
}

const historyWithinMs = 180_000;
const shrinkWithinMs = 240_000;
/** A failure that depends on timing has to show in one of so many runs to count as still there. */
const runsToBelieve = 3;
const failuresMax = 5;

/** Returns how many histories failed. */
export async function tortureDisks(options: DisksTorture): Promise<number> {
  const { counts, print, minutes, histories = minutes === undefined ? 1 : Number.POSITIVE_INFINITY } = options;
  const until = minutes === undefined ? Number.POSITIVE_INFINITY : performance.now() + minutes * 60_000;
  if (options.replay !== undefined) return await tortureOne(options, options.replay, 'replay');
  let failed = 0;
  for (let index = 0; index < histories && performance.now() < until && failed < failuresMax; index += 1) {
    const seed = options.seed + index;
    const steps = generateHistory(seed, options.steps, { kills: seed % 4 !== 0 });
    print(`history of seed ${seed}: ${steps.length} steps (so far ${counts.steps} steps)`);
    failed += await tortureOne(options, steps, `seed ${seed}`);
  }
  return failed;
}

async function tortureOne(options: DisksTorture, steps: readonly Step[], name: string): Promise<number> {
  const { print, counts } = options;
  const failure = await runOnce(options.server, steps, counts);
  if (failure === undefined) return 0;
  print(`\nFAILED (${name}) at step ${failure.at}: ${failure.message}`);
  const shorter = options.shrink ? await shortened(options, steps, failure) : steps;
  const file = join(await mkdtemp(join(tmpdir(), 'stillpoint-torture-')), 'history.json');
  await writeFile(file, JSON.stringify(shorter, undefined, 1));
  print(
    `The history, shortened from ${steps.length} to ${shorter.length} steps:\n${shorter.map((step, i) => `  ${i}  ${stepText(step)}`).join('\n')}`,
  );
  print(`again: npm run torture -- --level disks --${name.replace(' ', ' ')} --steps ${options.steps} --histories 1`);
  print(`shortened: npm run torture -- --level disks --replay ${file}\n`);
  return 1;
}

async function shortened({ server, print }: DisksTorture, steps: readonly Step[], failure: Failure): Promise<readonly Step[]> {
  let runs = 0;
  let last = failure;
  const result = await shrink(steps.slice(0, failure.at + 1), {
    deadlineMs: performance.now() + shrinkWithinMs,
    async fails(candidate) {
      for (let run = 0; run < runsToBelieve; run += 1) {
        runs += 1;
        const again = await runOnce(server, candidate, newCounts());
        if (again === undefined || kindOf(again.message) !== kindOf(failure.message)) continue;
        last = again;
        return true;
      }
      return false;
    },
  });
  print(`shortened in ${runs} runs; it now fails at step ${last.at}: ${last.message.split('\n', 1)[0]}`);
  return result;
}

/** Failures of one kind differ in their numbers and names only. */
const kindOf = (message: string): string =>
  (message.split('\n')[0] ?? '').replace(/[0-9a-f]{8,}(?:-[0-9a-f]+)*|\b[a-z]?\d+\b/g, '#').slice(0, 60);

async function runOnce(server: TestServer, steps: readonly Step[], counts: Counts): Promise<Failure | undefined> {
  const world = await World.make(server, counts);
  let at = 0;
  const noteStep = (index: number): void => {
    at = index;
  };
  const { promise: tooLong, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`the history did not end within ${historyWithinMs} ms`)), historyWithinMs);
  try {
    await Promise.race([runHistory(world, steps, noteStep), tooLong]);
    return undefined;
  } catch (error) {
    const warnings = await lastWords(world);
    return { at, message: `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n${warnings}` };
  } finally {
    clearTimeout(timer);
    await world.end();
  }
}

/** What the service logged, where it still can be asked. */
async function lastWords(world: World): Promise<string> {
  const asked = world.disks.order('warnings', undefined).catch(() => [] as string[]);
  const late = new Promise<string[]>((done) => setTimeout(done, 2_000, ['(it does not answer)']));
  const words = await Promise.race([asked, late]);
  return [...words.slice(-12), world.disks.output].join('\n');
}
