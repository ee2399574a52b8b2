/**
 * `npm run torture`: random histories on a model and on the real thing. CONTRIBUTING.md says how to use it.
 *
 *   --level disks|service   only one of the two (`a` and `b` for short)
 *   --minutes N             how long, for each level; without it: few histories of fixed seeds, as in continuous integration
 *   --seed N                the first seed; each further history has the next one
 *   --histories N           at most so many
 *   --steps N               of each history
 *   --replay FILE           the one history in the file
 *   --trace                 each step is printed as it begins
 *   --no-shrink             failing histories are shown as they are
 *
 * The last line is `N passed, N failed`.
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { startDatabaseServer } from '../support/database-server.ts';
import { countsText, newCounts } from './counts.ts';
import { makeDiskStage } from './disk-stage.ts';
import { generateHistory } from './generate.ts';
import { makeServiceStage } from './service-stage.ts';
import { endCurrentStage, type Level, torture } from './torture.ts';

const { values } = parseArgs({
  options: {
    level: { type: 'string' },
    minutes: { type: 'string' },
    seed: { type: 'string' },
    histories: { type: 'string' },
    steps: { type: 'string' },
    replay: { type: 'string' },
    'no-shrink': { type: 'boolean' },
    trace: { type: 'boolean' },
  },
  strict: true,
});
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const number = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));
const isFixed = [values.minutes, values.seed, values.histories, values.replay].every((value) => value === undefined);
const { server, stop } = await startDatabaseServer();

/** What a run without any option does: chosen to end within four minutes on two cores. */
interface Planned {
  readonly level: Level;
  readonly fixedSeed: number;
  readonly fixedHistories: number;
  readonly steps: number;
}

const levels: Record<string, Planned> = {
  disks: {
    level: {
      name: 'disks',
      makeStage: (counts) => makeDiskStage(server, counts),
      // Every fourth history is left in peace: there a failure is no matter of timing.
      generate: (seed, length) => generateHistory(seed, length, { kills: seed % 4 !== 0, unit: 'bytes' }),
    },
    fixedSeed: 1000,
    fixedHistories: 4,
    steps: 60,
  },
  service: {
    level: {
      name: 'service',
      makeStage: makeServiceStage,
      generate: (seed, length) => generateHistory(seed, length, { kills: seed % 4 !== 0, unit: 'gib' }),
    },
    fixedSeed: 1001,
    fixedHistories: 2,
    steps: 20,
  },
};
const short: Record<string, string> = { a: 'disks', b: 'service' };
const wanted = values.level === undefined ? Object.keys(levels) : [short[values.level] ?? values.level];

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    void endCurrentStage()
      .then(stop)
      .finally(() => process.exit(1));
  });
}

let [passed, failed] = [0, 0];
try {
  for (const name of wanted) {
    const planned = levels[name];
    if (planned === undefined) throw new Error(`there is no level ${name}`);
    const counts = newCounts();
    const [someSeed, histories] = isFixed
      ? [planned.fixedSeed, planned.fixedHistories]
      : [Date.now() % 2 ** 31, values.minutes === undefined ? 1 : Number.POSITIVE_INFINITY];
    const seed = number(values.seed) ?? someSeed;
    print(`== ${name}: first seed ${seed}`);
    failed += await torture({
      level: planned.level,
      counts,
      print,
      seed,
      minutes: number(values.minutes),
      histories: number(values.histories) ?? histories,
      steps: number(values.steps) ?? planned.steps,
      replay: values.replay === undefined ? undefined : JSON.parse(await readFile(values.replay, 'utf8')),
      shrink: values['no-shrink'] !== true,
      trace: values.trace === true,
    });
    passed += counts.histories;
    print(countsText(counts));
  }
} finally {
  await stop();
}
print(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
