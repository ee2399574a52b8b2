/** Runs a program in the place of this process: same streams, same signals, same end. */
import { spawn } from 'node:child_process';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Resolves with the exit code once the program has ended. `whenOrphaned`: the program also stops when this process, or the `npm` above
 * it, is killed outright, so that nothing keeps running unseen behind a closed `npm start`.
 */
export function run(program, args, { environment = process.env, whenOrphaned = false } = {}) {
  const [command, commandArgs] = whenOrphaned ? ['setpriv', ['--pdeathsig', 'TERM', program, ...args]] : [program, args];
  const child = spawn(command, commandArgs, { stdio: 'inherit', env: environment });
  for (const signal of forwarded) process.on(signal, () => child.kill(signal));
  const parentId = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid !== parentId) child.kill('SIGTERM');
  }, 500);
  if (!whenOrphaned || process.env.npm_lifecycle_event === undefined) clearInterval(watch);
  return new Promise((resolve) => {
    child.once('error', (error) => {
      clearInterval(watch);
      process.stderr.write(`${command} could not be started: ${error.message}\n`);
      resolve(1);
    });
    child.once('exit', (code, signal) => {
      clearInterval(watch);
      resolve(signal === null ? code : 128 + (signalNumbers[signal] ?? 0));
    });
  });
}

const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };
