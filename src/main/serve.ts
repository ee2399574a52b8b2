/** `stillpoint serve`: the service in the foreground, until a signal ends it. */
import { appendFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import type { CliCommand, CliInvocation } from '../fronts/cli/command.ts';
import { positionalsOf } from '../fronts/cli/command.ts';
import { CliError, exitCodes, usageError } from '../fronts/cli/exit-codes.ts';
import { armCrashPoint, recordCrashPoints } from '../lib/crash-points.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { cloudName, StateDirBusy, statePathsOf } from './state-dir.ts';

const stopSignals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
/** A terminal and `npm` both pass Ctrl-C on: signals this close together are one wish. */
export const sameWishMs = 1_000;
const forcedExitCode = 143;

export const serve: CliCommand = {
  path: ['serve'],
  summary: 'run the service in the foreground',
  usage: '',
  description: [
    'Runs the service until SIGTERM or Ctrl-C; a second one ends it at once. Settings come from the environment:',
    '',
    '  STILLPOINT_STATE_DIR           where everything is kept',
    '  STILLPOINT_LISTEN              address and port (default 127.0.0.1:8700; port 0: any free one)',
    '  STILLPOINT_PUBLIC_URL          what clients call the service (default: what they called it in their request)',
    '  DATABASE_URL                   a PostgreSQL of your own (default: the service brings one)',
    '  STILLPOINT_LOG_LEVEL           trace, debug, info, warn, error, fatal or silent (default: info)',
    '  STILLPOINT_DISK_RESERVE_BYTES  space that is kept back from new data on every file system (default: 1 GiB)',
    '  STILLPOINT_BALLAST_BYTES       a file that is given up when the disk is full, so that deleting works (default: 64 MiB)',
    '  STILLPOINT_TRASH_DAYS          how long the trash keeps files that nobody knows (default: 7)',
    '  STILLPOINT_LOCKOUT_ATTEMPTS    wrong passwords in a row that lock a user out (default: 0, never)',
    '  STILLPOINT_LOCKOUT_SECONDS     for how long (default: 1800)',
    '  STILLPOINT_ALLOW_UNCONFINED    yes: run image tools without a cage where bubblewrap does not work (default: no)',
  ].join('\n'),
  options: {},
  async run(invocation) {
    positionalsOf(invocation);
    const config = configOf(invocation);
    // Whoever needs a file to be seen by others says so; PostgreSQL's user, say.
    process.umask(0o077);
    if (config.crashPoint !== undefined) armCrashPoint(config.crashPoint.name, config.crashPoint.action, config.crashPoint.afterHits);
    const { crashPointLog } = config;
    if (crashPointLog !== undefined) recordCrashPoints((name) => appendFileSync(crashPointLog, `${name}\n`));
    const stopWanted = nextStopSignal();
    const service = await start(config);
    const paths = statePathsOf(config.stateDir);
    invocation.out(`Stillpoint is ready: ${service.url}`);
    invocation.out(
      `Credentials: ${paths.cloudsYaml} (export OS_CLIENT_CONFIG_FILE=${paths.cloudsYaml} OS_CLOUD=${cloudName}) or ${paths.openrc}`,
    );
    // Now and not at the end: it may be a sudden one.
    flushCompileCache();
    await stopWanted;
    await service.stop();
    return exitCodes.ok;
  },
};

function configOf(invocation: CliInvocation): Config {
  try {
    return readConfig(invocation.environment);
  } catch (error) {
    if (error instanceof ConfigError) throw usageError(error.message);
    throw error;
  }
}

async function start(config: Config): Promise<{ readonly url: string; stop(): Promise<void> }> {
  // Only this command needs the service's modules: the others start faster without them.
  const { startService } = await import('./service.ts');
  try {
    return await startService(config);
  } catch (error) {
    if (error instanceof StateDirBusy) throw new CliError(exitCodes.refused, error.message);
    const { code } = error as NodeJS.ErrnoException;
    const { host, port } = config.listen;
    if (code === 'EADDRINUSE')
      throw new CliError(exitCodes.refused, `${host}:${port} is in use; choose another address with STILLPOINT_LISTEN`);
    if (code === 'EADDRNOTAVAIL') throw usageError(`${host} is no address of this machine (STILLPOINT_LISTEN)`);
    throw error;
  }
}

/** Resolves at the first signal. From then on, a second one ends the process where it stands: kill -9 loses nothing either. */
function nextStopSignal(): Promise<void> {
  let firstAtMs: number | undefined;
  return new Promise((resolve) => {
    for (const signal of stopSignals) {
      process.on(signal, () => {
        firstAtMs ??= performance.now();
        if (performance.now() - firstAtMs > sameWishMs) process.exit(forcedExitCode);
        resolve();
      });
    }
  });
}
