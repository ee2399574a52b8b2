/**
 * The unprivileged account under which PostgreSQL runs when the service itself is root. PostgreSQL refuses root, and a uid without an
 * entry in the password database.
 */
import { execFile } from 'node:child_process';
import { chmod, chown, readFile, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const accountName = 'stillpoint';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Who runs PostgreSQL: this process' own user, or (for root) the system account, which is made when it is missing. */
export async function serviceAccount(): Promise<Account> {
  const uid = process.getuid?.();
  const gid = process.getgid?.();
  if (uid === undefined || gid === undefined) throw new Error('this platform has no user ids');
  if (uid !== 0) return { uid, gid };
  const existing = await accountByName(accountName);
  if (existing !== undefined) return existing;
  await run('/usr/sbin/useradd', [
    '--system',
    '--user-group',
    '--no-create-home',
    '--home-dir',
    '/nonexistent',
    '--shell',
    '/usr/sbin/nologin',
    accountName,
  ]).catch(async (error: unknown) => {
    // Another process may have been quicker.
    if ((await accountByName(accountName)) === undefined)
      throw new Error(`cannot make the system account ${accountName}`, { cause: error });
  });
  const made = await accountByName(accountName);
  if (made === undefined) throw new Error(`the system account ${accountName} was made but is not in /etc/passwd`);
  return made;
}

async function accountByName(name: string): Promise<Account | undefined> {
  const passwd = await readFile('/etc/passwd', 'utf8');
  const fields = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find((parts) => parts[0] === name);
  return fields === undefined ? undefined : { uid: Number(fields[2]), gid: Number(fields[3]) };
}

/** Gives the account the right to pass through a directory of ours (not to list it), when it is not its own. */
export async function grantPassage(directory: string, account: Account): Promise<void> {
  if (process.getuid?.() !== 0 || (await blockedAt(directory, account)) !== directory) return;
  const { mode } = await stat(directory);
  await chown(directory, 0, account.gid);
  await chmod(directory, (mode & 0o7777) | 0o010);
}

/** The first directory on the way to `path` (itself included) that the account cannot pass; undefined when it can reach it. */
export async function blockedAt(path: string, account: Account): Promise<string | undefined> {
  const chain: string[] = [];
  for (let current = await realpath(path); ; current = dirname(current)) {
    chain.unshift(current);
    if (current === dirname(current)) break;
  }
  for (const current of chain) {
    const { uid, gid, mode, isDirectory } = await stat(current).then((s) => ({ ...s, isDirectory: s.isDirectory() }));
    const bits = uid === account.uid ? mode >> 6 : gid === account.gid ? mode >> 3 : mode;
    const wanted = isDirectory ? 0o1 : 0o4;
    if ((bits & wanted) === 0) return current;
  }
  return undefined;
}
