/** One history after the other, each on a stage of its own; what fails is shortened and shown. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Counts, newCounts } from './counts.ts';
import { runHistory } from './history.ts';
import { shrink } from './shrink.ts';
import type { Stage } from './stage.ts';
import { type Step, stepText } from './steps.ts';

export interface Level {
  readonly name: string;
  makeStage(counts: Counts): Promise<Stage>;
  generate(seed: number, length: number): Step[];
}

export interface Torture {
  readonly level: Level;
  readonly counts: Counts;
  readonly print: (text: string) => void;
  readonly seed: number;
  readonly minutes: number | undefined;
  readonly histories: number | undefined;
  readonly steps: number;
  readonly replay: readonly Step[] | undefined;
  readonly shrink: boolean;
  /** Prints each step as it begins. */
  readonly trace: boolean;
}

interface Failure {
  readonly at: number;
  readonly message: string;
}

/** A step that takes longer hangs: each has its own, shorter, limits. */
const stepWithinMs = 180_000;
const shrinkWithinMs = 420_000;
/** A failure that depends on timing has to show in one of so many runs to count as still there. */
const runsToBelieve = 2;
const failuresMax = 5;

/** Returns how many histories failed. */
export async function torture(options: Torture): Promise<number> {
  const { counts, print, minutes, histories = minutes === undefined ? 1 : Number.POSITIVE_INFINITY } = options;
  const until = minutes === undefined ? Number.POSITIVE_INFINITY : performance.now() + minutes * 60_000;
  if (options.replay !== undefined) return await tortureOne(options, options.replay, 'replay');
  let failed = 0;
  for (let index = 0; index < histories && performance.now() < until && failed < failuresMax; index += 1) {
    const seed = options.seed + index;
    const steps = options.level.generate(seed, options.steps);
    print(`history of seed ${seed}: ${steps.length} steps (so far ${counts.steps} steps)`);
    failed += await tortureOne(options, steps, `seed ${seed}`);
  }
  return failed;
}

async function tortureOne(options: Torture, steps: readonly Step[], name: string): Promise<number> {
  const { print, counts } = options;
  const failure = await runOnce(options, steps, counts);
  if (failure === undefined) return 0;
  print(`\nFAILED (${name}) at step ${failure.at}: ${failure.message}`);
  const shorter = options.shrink ? await shortened(options, steps, failure) : steps;
  const file = join(await mkdtemp(join(tmpdir(), 'stillpoint-torture-')), 'history.json');
  await writeFile(file, JSON.stringify(shorter, undefined, 1));
  print(
    `The history, shortened from ${steps.length} to ${shorter.length} steps:\n${shorter.map((step, i) => `  ${i}  ${stepText(step)}`).join('\n')}`,
  );
  print(`again: npm run torture -- --level ${options.level.name} --${name} --steps ${options.steps} --histories 1`);
  print(`shortened: npm run torture -- --level ${options.level.name} --replay ${file}\n`);
  return 1;
}

async function shortened(options: Torture, steps: readonly Step[], failure: Failure): Promise<readonly Step[]> {
  let runs = 0;
  let last = failure;
  const result = await shrink(steps.slice(0, failure.at + 1), {
    deadlineMs: performance.now() + shrinkWithinMs,
    async fails(candidate) {
      for (let run = 0; run < runsToBelieve; run += 1) {
        runs += 1;
        const again = await runOnce(options, candidate, newCounts(), failure.at >= steps.length);
        if (again === undefined || kindOf(again.message) !== kindOf(failure.message)) continue;
        last = again;
        return true;
      }
      return false;
    },
  });
  options.print(`shortened in ${runs} runs; it now fails at step ${last.at}: ${last.message.split('\n', 1)[0]}`);
  return result;
}

/** Failures of one kind differ in their numbers and names only. */
const kindOf = (message: string): string =>
  (message.split('\n')[0] ?? '').replace(/[0-9a-f]{8,}(?:-[0-9a-f]+)*|\b[a-z]?\d+\b/g, '#').slice(0, 60);

let current: Stage | undefined;

/** For a run that is broken off: nothing of it is left running. */
export async function endCurrentStage(): Promise<void> {
  await current?.end();
}

async function runOnce(options: Torture, steps: readonly Step[], counts: Counts, toTheEnd = true): Promise<Failure | undefined> {
  const stage = await options.level.makeStage(counts);
  current = stage;
  let at = 0;
  const { promise: tooLong, reject } = Promise.withResolvers<never>();
  let timer: NodeJS.Timeout | undefined;
  const noteStep = (index: number): void => {
    at = index;
    const step = steps[index];
    if (options.trace)
      options.print(`  ${(performance.now() / 1000).toFixed(1)} s  ${index}  ${step === undefined ? 'the end' : stepText(step)}`);
    clearTimeout(timer);
    timer = setTimeout(() => reject(new Error(`the step did not end within ${stepWithinMs} ms`)), stepWithinMs);
  };
  try {
    await Promise.race([runHistory(stage, steps, { onStep: noteStep, toTheEnd }), tooLong]);
    return undefined;
  } catch (error) {
    return { at, message: `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n${await stage.lastWords()}` };
  } finally {
    clearTimeout(timer);
    current = undefined;
    await stage.end();
  }
}
