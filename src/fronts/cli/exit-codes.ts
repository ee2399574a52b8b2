/**
 * What the exit code of `stillpoint` tells a script. The numbers are a promise: they never change their meaning.
 * A script must treat a code that it does not know as a failure.
 */
export const exitCodes = {
  ok: 0,
  /** Something went wrong that no other code names. */
  failure: 1,
  /** The command line is wrong: unknown command, option or value. Nothing was done. */
  usage: 2,
  /** The named thing does not exist, or is not yours to see. */
  notFound: 3,
  /** The server understood and refused: state, quota, permission, credentials. */
  refused: 4,
  /** No server answers there. */
  unreachable: 5,
  /** Stored data is damaged: what was read is not what was written. */
  corrupted: 6,
  /** Ended by Ctrl-C. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** One line for each code, for `stillpoint help`. */
export const exitCodeMeanings: readonly (readonly [code: ExitCode, meaning: string])[] = [
  [exitCodes.ok, 'done'],
  [exitCodes.failure, 'failed'],
  [exitCodes.usage, 'wrong command line; nothing was done'],
  [exitCodes.notFound, 'the named thing does not exist'],
  [exitCodes.refused, 'the server refused: state, quota, permission or credentials'],
  [exitCodes.unreachable, 'no server answers'],
  [exitCodes.corrupted, 'stored data is damaged'],
  [exitCodes.interrupted, 'interrupted'],
];

/** An end of a command with a message for the user and its exit code. Anything else that is thrown is a defect and exits with 1. */
export class CliError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CliError';
    this.exitCode = exitCode;
  }
}

export const usageError = (message: string): CliError => new CliError(exitCodes.usage, message);
export const notFoundError = (message: string): CliError => new CliError(exitCodes.notFound, message);
export const failure = (message: string, cause?: unknown): CliError =>
  new CliError(exitCodes.failure, message, cause === undefined ? undefined : { cause });
