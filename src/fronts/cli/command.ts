import type { ParseArgsOptionsConfig } from 'node:util';
import { usageError } from './exit-codes.ts';

export type OutputFormat = 'table' | 'json';

/** One command of `stillpoint`, one file each. It speaks to a server through the public APIs only, or works without any server. */
export interface CliCommand {
  /** The words that call it: `['backup', 'create']`. */
  readonly path: readonly string[];
  /** One line for the list of commands. */
  readonly summary: string;
  /** What follows the words: `VOLUME [--name NAME]`. */
  readonly usage: string;
  /** Longer help: a few lines of prose and examples. */
  readonly description?: string;
  readonly options: CliOptions;
  /** Returns the exit code (`exit-codes.ts`). A thrown `CliError` ends the command with its message and code. */
  run(invocation: CliInvocation): Promise<number>;
}

/** An option of `node:util` parseArgs, with the line that the help shows. */
export type CliOptions = Readonly<
  Record<string, ParseArgsOptionsConfig[string] & { readonly help: string; readonly placeholder?: string }>
>;

export type CliValue = string | boolean | readonly (string | boolean)[] | undefined;

/** A stream of the terminal, or of what stands in for it. */
export interface CliStream {
  readonly isTTY: boolean;
  readonly columns: number;
  write(text: string): void;
}

export interface CliInvocation {
  readonly values: Readonly<Record<string, CliValue>>;
  readonly positionals: readonly string[];
  readonly format: OutputFormat;
  /** False when `NO_COLOR` is set or the output is no terminal. */
  readonly color: boolean;
  /** Results: one line (a newline is added). */
  out(text: string): void;
  /** Messages for people: one line (a newline is added). */
  err(text: string): void;
  /** Where progress lines go; results go to `out`, so that pipes stay clean. */
  readonly stderr: CliStream;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** The environment as `main` read it; commands look up `OS_*` variables here and nowhere else. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The state directory of the local service: its `clouds.yaml` is the last resort for credentials. */
  readonly stateDir: string;
  /** `--os-cloud`, else `OS_CLOUD`. */
  readonly cloud: string | undefined;
}

/** The value of a text option, or undefined when it was not given. */
export function textOption(invocation: CliInvocation, name: string): string | undefined {
  const value = invocation.values[name];
  return typeof value === 'string' ? value : undefined;
}

export function requiredOption(invocation: CliInvocation, name: string): string {
  const value = textOption(invocation, name);
  if (value === undefined || value === '') throw usageError(`--${name} is needed`);
  return value;
}

export function flagOption(invocation: CliInvocation, name: string): boolean {
  return invocation.values[name] === true;
}

/** Exactly the named positional arguments, or a usage error that says which is missing or too much. */
export function positionalsOf(invocation: CliInvocation, ...names: string[]): string[] {
  const missing = names[invocation.positionals.length];
  if (missing !== undefined) throw usageError(`${missing} is missing`);
  const surplus = invocation.positionals[names.length];
  if (surplus !== undefined) throw usageError(`unexpected argument: ${surplus}`);
  return [...invocation.positionals];
}
