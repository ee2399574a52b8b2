/**
 * `npm run torture`: random histories on a model and on the real engine. See CONTRIBUTING.md.
 *
 *   --level disks | service   what is tortured; both, one after the other, when left out
 *   --minutes N               how long; without it a fixed number of histories from fixed seeds
 *   --seed N                  the first seed; one more for each further history
 *   --histories N             at most so many
 *   --steps N                 of each history
 *   --replay FILE             one history that was written after a failure
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { startDatabaseServer } from '../support/database-server.ts';
import { countsText, newCounts } from './counts.ts';
import { tortureDisks } from './disks-level.ts';

const { values } = parseArgs({
  options: {
    level: { type: 'string' },
    minutes: { type: 'string' },
    seed: { type: 'string' },
    histories: { type: 'string' },
    steps: { type: 'string' },
    replay: { type: 'string' },
    'no-shrink': { type: 'boolean' },
  },
  strict: true,
});
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const { server, stop } = await startDatabaseServer();
const counts = newCounts();
const failed = await tortureDisks({
  server,
  counts,
  print,
  seed: Number(values.seed ?? Date.now() % 2 ** 31),
  minutes: values.minutes === undefined ? undefined : Number(values.minutes),
  histories: values.histories === undefined ? undefined : Number(values.histories),
  steps: Number(values.steps ?? 60),
  replay: values.replay === undefined ? undefined : JSON.parse(await readFile(values.replay, 'utf8')),
  shrink: values['no-shrink'] !== true,
});
await stop();
print(countsText(counts));
print(`${counts.histories} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
