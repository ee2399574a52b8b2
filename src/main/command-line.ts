/** Binds the command line to this process: its arguments, streams, signals and exit code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CliStream } from '../fronts/cli/command.ts';
import { exitCodes } from '../fronts/cli/exit-codes.ts';
import { runCli } from '../fronts/cli/run-cli.ts';
import { commands } from './commands.ts';
import { stateDirOf } from './config.ts';
import { sameWishMs } from './serve.ts';

const packageFile = join(import.meta.dirname, '../../package.json');

function streamOf(stream: NodeJS.WriteStream): CliStream {
  // A reader that went away (`stillpoint … | head`) is no error of ours.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  return {
    isTTY: stream.isTTY === true,
    get columns() {
      return stream.columns ?? 80;
    },
    write: (text) => void stream.write(text),
  };
}

/** Aborted by Ctrl-C; a second one ends a command that does not listen. A terminal and `npm` both pass it on, hence the pause. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  let firstAtMs: number | undefined;
  process.on('SIGINT', () => {
    firstAtMs ??= performance.now();
    if (performance.now() - firstAtMs > sameWishMs) process.exit(exitCodes.interrupted);
    controller.abort();
  });
  return controller.signal;
}

export async function runHere(): Promise<void> {
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };
  const exitCode = await runCli(process.argv.slice(2), {
    commands,
    version,
    environment: process.env,
    stdout: streamOf(process.stdout),
    stderr: streamOf(process.stderr),
    signal: interruption(),
    stateDirOf: (environment) => stateDirOf(environment),
  });
  // Nothing that a command forgot to close may keep it alive.
  process.exit(exitCode);
}
