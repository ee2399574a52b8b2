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

/**
 * Gives the account the right to pass through (not to list) a directory of ours, and through private directories above it when they
 * are temporary ones: those lie in a directory that all may write. Nobody's home is opened.
 */
export async function grantPassage(directory: string, account: Account): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const chain = await chainTo(directory);
  const temporary = await firstIndex(chain, async (path) => ((await stat(path)).mode & 0o1002) === 0o1002);
  for (const path of temporary < 0 ? chain.slice(-1) : chain.slice(temporary + 1)) {
    if (await canPass(path, account)) continue;
    const { mode } = await stat(path);
    await chown(path, 0, account.gid);
    await chmod(path, (mode & 0o7777) | 0o010);
  }
}

/** The first directory on the way to `path` (itself included) that the account cannot pass; undefined when it can reach it. */
export async function blockedAt(path: string, account: Account): Promise<string | undefined> {
  const chain = await chainTo(path);
  return chain[await firstIndex(chain, async (part) => !(await canPass(part, account)))];
}

/** The path and all directories above it, from the root down. */
async function chainTo(path: string): Promise<string[]> {
  const chain: string[] = [];
  for (let current = await realpath(path); ; current = dirname(current)) {
    chain.unshift(current);
    if (current === dirname(current)) return chain;
  }
}

async function firstIndex(paths: readonly string[], holds: (path: string) => Promise<boolean>): Promise<number> {
  for (const [index, path] of paths.entries()) if (await holds(path)) return index;
  return -1;
}

/** May enter the directory, or read the file. */
async function canPass(path: string, account: Account): Promise<boolean> {
  const entry = await stat(path);
  const bits = entry.uid === account.uid ? entry.mode >> 6 : entry.gid === account.gid ? entry.mode >> 3 : entry.mode;
  return (bits & (entry.isDirectory() ? 0o1 : 0o4)) !== 0;
}
