/** Runs a program in the place of this process: same streams, same signals, same end. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Resolves with the exit code once the program has ended. `whenOrphaned`: the program also stops when this process, or the `npm` above
 * it, is killed outright, so that nothing keeps running unseen behind a closed `npm start`.
 */
export function run(program, args, { environment = process.env, whenOrphaned = false } = {}) {
  const [command, commandArgs] = whenOrphaned ? ['setpriv', ['--pdeathsig', 'TERM', program, ...args]] : [program, args];
  const child = spawn(command, commandArgs, { stdio: 'inherit', env: environment });
  for (const signal of forwarded) process.on(signal, () => child.kill(signal));
  const watch = whenOrphaned && process.env.npm_lifecycle_event !== undefined ? watchLineage(() => child.kill('SIGTERM')) : undefined;
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

/** Calls back once when the `npm` above us, or the shell that it may have put between, is gone: orphans get another parent. */
function watchLineage(orphaned) {
  const before = lineage();
  const watch = setInterval(() => {
    if (lineage() === before) return;
    clearInterval(watch);
    orphaned();
  }, 500);
  return watch;
}

/** Our parent, and its parent when ours is only npm's shell. Who started `npm` may go without any consequence. */
function lineage() {
  try {
    const status = readFileSync(`/proc/${process.ppid}/status`, 'utf8');
    const [, name] = /^Name:\s*(.*)$/m.exec(status) ?? [];
    const [, parentOfParent] = /^PPid:\s*(\d+)$/m.exec(status) ?? [];
    return name?.startsWith('npm') ? String(process.ppid) : `${process.ppid} ${parentOfParent}`;
  } catch {
    return String(process.ppid);
  }
}
