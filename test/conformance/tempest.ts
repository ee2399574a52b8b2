/** Debian's Tempest, run through stestr, which keeps the results. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Tempest {
  /** The names of the tests that match. */
  list(regex: string): Promise<string[]>;
  /** Prints each test's result and the tracebacks of those that fail. */
  run(what: { regex: string; excluded: readonly string[]; workers: number }): Promise<Counts>;
}

/** Debian's own Python: another one on the PATH does not have Debian's packages. */
const python = '/usr/bin/python3';
const packages = '/usr/lib/python3/dist-packages';

export function createTempest({ folder, configuration }: { folder: string; configuration: string }): Tempest {
  writeFileSync(join(folder, '.stestr.conf'), `[DEFAULT]\ntest_path=${packages}/tempest/test_discover\ntop_dir=${packages}\n`);
  // Worker processes of one class share what the class has set up.
  const grouped = ['--group-regex', '([^\\.]*\\.)*'];
  mkdirSync(join(folder, 'home'));
  const environment = {
    PATH: '/usr/bin:/bin',
    HOME: join(folder, 'home'),
    PYTHON: python,
    LC_ALL: 'C.UTF-8',
    TEMPEST_CONFIG_DIR: dirname(configuration),
    TEMPEST_CONFIG: 'tempest.conf',
  };
  const stestr = (args: readonly string[], onOutput?: (text: string) => void): Promise<string> =>
    new Promise((done, fail) => {
      const child = spawn(python, ['-m', 'stestr', ...args], { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        onOutput?.(text);
      });
      child.once('error', fail);
      child.once('close', () => done(output));
    });

  return {
    async list(regex) {
      // It lists nothing where it has not kept results yet.
      await stestr(['init']);
      const tests = (await stestr(['list', regex])).split('\n').filter((line) => line.includes('.test_'));
      if (tests.length === 0) throw new Error(`no test of Tempest matches ${regex}`);
      return tests;
    },
    async run({ regex, excluded, workers }) {
      const list = join(folder, 'excluded');
      writeFileSync(list, excluded.map((pattern) => `${pattern}\n`).join(''));
      const args = ['run', '--concurrency', String(workers), '--exclude-list', list, ...grouped, regex];
      const output = await stestr(args, (text) => process.stdout.write(text));
      const count = (what: string): number => Number(new RegExp(`^ - ${what}: (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
      return {
        passed: count('Passed') + count('Expected Fail'),
        failed: count('Failed') + count('Unexpected Success'),
        skipped: count('Skipped'),
      };
    },
  };
}
