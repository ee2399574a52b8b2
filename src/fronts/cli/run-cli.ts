/** From the words of a command line to a command and its exit code. */
import { parseArgs } from 'node:util';
import type { CliCommand, CliInvocation, CliStream, OutputFormat } from './command.ts';
import { CliError, exitCodes, usageError } from './exit-codes.ts';
import { commandHelp, globalOptions, overview, programName, wordsOf } from './help.ts';

export interface CliSurroundings {
  readonly commands: readonly CliCommand[];
  readonly version: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly stdout: CliStream;
  readonly stderr: CliStream;
  readonly signal: AbortSignal;
  /** The state directory that an environment names. */
  stateDirOf(environment: Readonly<Record<string, string | undefined>>): string;
}

export async function runCli(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const err = (text: string) => surroundings.stderr.write(`${text}\n`);
  try {
    return await dispatch(args, surroundings);
  } catch (error) {
    if (surroundings.signal.aborted && (error === surroundings.signal.reason || (error instanceof Error && error.name === 'AbortError'))) {
      err('interrupted');
      return exitCodes.interrupted;
    }
    if (error instanceof CliError) {
      err(`${programName}: ${error.message}`);
      return error.exitCode;
    }
    err(`${programName}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return exitCodes.failure;
  }
}

async function dispatch(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const out = (text: string) => surroundings.stdout.write(`${text}\n`);
  const { command, words, rest } = findCommand(args, surroundings.commands);
  if (command === undefined) return withoutCommand(words, rest, surroundings);
  const { values, positionals } = parse(rest, { ...globalOptions, ...command.options });
  if (values.help === true) {
    out(commandHelp(command));
    return exitCodes.ok;
  }
  return await command.run(invocationOf(values, positionals, surroundings));
}

function invocationOf(values: CliInvocation['values'], positionals: readonly string[], surroundings: CliSurroundings): CliInvocation {
  const { stdout, stderr } = surroundings;
  const stateDir = values['state-dir'];
  const environment =
    typeof stateDir === 'string' ? { ...surroundings.environment, STILLPOINT_STATE_DIR: stateDir } : surroundings.environment;
  const cloud = values['os-cloud'];
  return {
    values,
    positionals,
    format: formatOf(values.format),
    color: stdout.isTTY && !environment.NO_COLOR,
    out: (text) => stdout.write(`${text}\n`),
    err: (text) => stderr.write(`${text}\n`),
    stderr,
    signal: surroundings.signal,
    environment,
    stateDir: surroundings.stateDirOf(environment),
    cloud: typeof cloud === 'string' ? cloud : environment.OS_CLOUD,
  };
}

function formatOf(value: unknown): OutputFormat {
  if (value === undefined || value === 'table') return 'table';
  if (value === 'json') return 'json';
  throw usageError(`the format is table or json, not '${value}'`);
}

interface FoundCommand {
  readonly command: CliCommand | undefined;
  /** The words before the first option. */
  readonly words: readonly string[];
  /** The arguments without the words that name the command. */
  readonly rest: readonly string[];
}

/** The command with the longest path that the first words match; options of every command may stand before them. */
function findCommand(args: readonly string[], commands: readonly CliCommand[]): FoundCommand {
  let start = 0;
  while (args[start]?.startsWith('-') && args[start] !== '--') start += takesNext(args[start] ?? '') ? 2 : 1;
  const words: string[] = [];
  for (const arg of args.slice(start)) {
    if (arg.startsWith('-')) break;
    words.push(arg);
  }
  const matches = commands.filter(({ path }) => path.every((word, index) => words[index] === word));
  const command = matches.sort((a, b) => b.path.length - a.path.length)[0];
  const rest = [...args.slice(0, start), ...args.slice(start + (command?.path.length ?? 0))];
  return { command, words, rest };
}

function takesNext(option: string): boolean {
  const found = Object.entries(globalOptions).find(
    ([name, { ...config }]) => `--${name}` === option || ('short' in config && `-${config.short}` === option),
  );
  return found?.[1].type === 'string';
}

function withoutCommand(words: readonly string[], rest: readonly string[], surroundings: CliSurroundings): number {
  const { commands } = surroundings;
  const out = (text: string) => surroundings.stdout.write(`${text}\n`);
  if (words[0] === 'help') {
    const { command } = findCommand(words.slice(1), commands);
    if (command === undefined && words.length > 1) throw unknownCommand(words.slice(1), commands);
    out(command === undefined ? overview(commands) : commandHelp(command));
    return exitCodes.ok;
  }
  if (words.length > 0) throw unknownCommand(words, commands);
  const { values } = parse(rest, globalOptions);
  if (values.version === true) {
    out(surroundings.version);
    return exitCodes.ok;
  }
  if (values.help === true) {
    out(overview(commands));
    return exitCodes.ok;
  }
  surroundings.stderr.write(`${overview(commands)}\n`);
  return exitCodes.usage;
}

function unknownCommand(words: readonly string[], commands: readonly CliCommand[]): CliError {
  const family = commands.filter(({ path }) => path[0] === words[0]).map(wordsOf);
  if (family.length > 0) return usageError(`which one? ${family.join(', ')}`);
  return usageError(`there is no command '${words.join(' ')}'; '${programName} help' lists them`);
}

function parse(args: readonly string[], options: CliCommand['options']): Pick<CliInvocation, 'values' | 'positionals'> {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) throw usageError(error.message);
    throw error;
  }
}
