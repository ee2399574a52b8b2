import { expect, it } from 'vitest';
import { type CliCommand, type CliInvocation, flagOption, positionalsOf, requiredOption } from './command.ts';
import { CliError, exitCodes, notFoundError } from './exit-codes.ts';
import { runCli } from './run-cli.ts';

let seen: CliInvocation | undefined;

const remember: CliCommand['run'] = async (invocation) => {
  seen = invocation;
  return exitCodes.ok;
};

const commands: readonly CliCommand[] = [
  {
    path: ['disk', 'copy'],
    summary: 'copy a disk',
    usage: 'DISK',
    options: { force: { type: 'boolean', help: 'even so' }, to: { type: 'string', help: 'where to', placeholder: 'DIR' } },
    run: remember,
  },
  { path: ['disk'], summary: 'show disks', usage: '', options: {}, run: remember },
  {
    path: ['fail'],
    summary: 'fail',
    usage: '',
    options: { kind: { type: 'string', help: 'how' } },
    async run(invocation) {
      positionalsOf(invocation);
      const kind = requiredOption(invocation, 'kind');
      throw kind === 'known' ? notFoundError('no such disk') : new Error('a defect');
    },
  },
];

async function run(args: readonly string[], options: { environment?: Record<string, string>; isTTY?: boolean; signal?: AbortSignal } = {}) {
  seen = undefined;
  const [out, err]: string[][] = [[], []];
  const stream = (lines: string[]) => ({ isTTY: options.isTTY ?? false, columns: 80, write: (text: string) => void lines.push(text) });
  const code = await runCli(args, {
    commands,
    version: '1.2.3',
    environment: options.environment ?? {},
    stdout: stream(out ?? []),
    stderr: stream(err ?? []),
    signal: options.signal ?? new AbortController().signal,
    stateDirOf: (environment) => environment.STILLPOINT_STATE_DIR ?? '/default',
  });
  return { code, out: (out ?? []).join(''), err: (err ?? []).join('') };
}

it('finds the command with the longest path', async () => {
  await run(['disk', 'copy', 'a', '--force']);
  expect(seen?.positionals).toEqual(['a']);
  expect(flagOption(seen as CliInvocation, 'force')).toBe(true);
  await run(['disk', 'b']);
  expect(seen?.positionals).toEqual(['b']);
});

it('takes the options of every command before and after its words', async () => {
  await run(['--state-dir', '/s', '-f', 'json', 'disk', 'copy', 'a', '--os-cloud', 'other']);
  expect(seen).toMatchObject({ stateDir: '/s', format: 'json', cloud: 'other', positionals: ['a'] });
  await run(['disk', 'copy', '--state-dir=/t', 'a'], { environment: { STILLPOINT_STATE_DIR: '/e', OS_CLOUD: 'mine' } });
  expect(seen).toMatchObject({ stateDir: '/t', format: 'table', cloud: 'mine' });
  expect(seen?.environment.STILLPOINT_STATE_DIR).toBe('/t');
});

it('colours a terminal, unless NO_COLOR is set', async () => {
  await run(['disk'], { isTTY: true });
  expect(seen?.color).toBe(true);
  await run(['disk'], { isTTY: true, environment: { NO_COLOR: '1' } });
  expect(seen?.color).toBe(false);
  await run(['disk'], { isTTY: false });
  expect(seen?.color).toBe(false);
});

it.each([
  [['copy'], /no command 'copy'/],
  [['disk', '--unknown'], /--unknown/],
  [['disk', '-f', 'xml'], /table or json, not 'xml'/],
  [['disk', 'copy', '--to'], /--to/],
  [['fail'], /--kind is needed/],
  [['fail', 'surplus', '--kind', 'known'], /unexpected argument: surplus/],
])('refuses %j as a wrong command line', async (args, message) => {
  const { code, err, out } = await run(args);
  expect(code).toBe(exitCodes.usage);
  expect(err).toMatch(message);
  expect(out).toBe('');
});

it('turns the errors of commands into their exit codes, and a defect into 1 with its stack', async () => {
  expect(await run(['fail', '--kind', 'known'])).toEqual({ code: exitCodes.notFound, out: '', err: 'stillpoint: no such disk\n' });
  const defect = await run(['fail', '--kind', 'unknown']);
  expect(defect.code).toBe(exitCodes.failure);
  expect(defect.err).toMatch(/Error: a defect\n\s+at /);
});

it('ends with 130 when Ctrl-C broke a command off', async () => {
  const { code, err } = await run(['wait'], { signal: AbortSignal.abort() });
  expect(code).toBe(exitCodes.usage);
  expect(err).not.toContain('interrupted');
  const waiting: CliCommand = {
    path: ['wait'],
    summary: 'wait',
    usage: '',
    options: {},
    run: async ({ signal }) => {
      signal.throwIfAborted();
      return 0;
    },
  };
  const interrupted = await runCli(['wait'], {
    commands: [waiting],
    version: '',
    environment: {},
    stdout: { isTTY: false, columns: 80, write: () => {} },
    stderr: { isTTY: false, columns: 80, write: () => {} },
    signal: AbortSignal.abort(),
    stateDirOf: () => '/default',
  });
  expect(interrupted).toBe(exitCodes.interrupted);
});

it('explains itself', async () => {
  const overview = await run(['help']);
  expect(overview.code).toBe(exitCodes.ok);
  expect(overview.out).toContain('disk copy     copy a disk');
  expect(overview.out).toMatch(/130 +interrupted/);
  const own = await run(['help', 'disk', 'copy']);
  expect(own.out).toContain('Usage: stillpoint disk copy DISK');
  expect(own.out).toContain('--to DIR');
  expect((await run(['disk', 'copy', '--help'])).out).toBe(own.out);
  expect((await run(['--version'])).out).toBe('1.2.3\n');
  const nothing = await run([]);
  expect(nothing).toMatchObject({ code: exitCodes.usage, out: '', err: overview.out });
});

it('has an exit code for every kind of end', () => {
  const codes = Object.values(exitCodes);
  expect(new Set(codes).size).toBe(codes.length);
  expect(new CliError(exitCodes.corrupted, 'x').exitCode).toBe(6);
});
