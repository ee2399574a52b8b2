/**
 * The state directory: its folders and their modes, the lock that keeps a second service out, and the files with the credentials.
 *
 * The directory itself is 0711: PostgreSQL runs as another user below it, and must pass through without seeing what is there. Every
 * folder in it is 0700 but the one for sockets; PostgreSQL's own is made by who starts it. The lock belongs to an open file, so the kernel gives it back at the very moment the
 * process ends, whatever way it ends; no file with a process id has to be believed.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, fsyncSync, ftruncateSync, lstatSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { sealingKeyBytes } from '../cloud/identity/sealing.ts';
import { replaceBytesDurably } from '../lib/durable-files.ts';
import type { Config } from './config.ts';

export interface StatePaths {
  readonly root: string;
  /** Layers of volumes. */
  readonly volumes: string;
  /** Image files. */
  readonly images: string;
  /** What servers keep beside their disks. */
  readonly servers: string;
  /** Backup repositories that lie on this machine. */
  readonly repositories: string;
  /** See ballast.ts. */
  readonly ballast: string;
  /** Key files, 0600. */
  readonly keys: string;
  readonly cloudsYaml: string;
  readonly openrc: string;
}

export function statePathsOf(stateDir: string): StatePaths {
  return {
    root: stateDir,
    volumes: join(stateDir, 'volumes'),
    images: join(stateDir, 'images'),
    servers: join(stateDir, 'servers'),
    repositories: join(stateDir, 'repositories'),
    ballast: join(stateDir, 'ballast'),
    keys: join(stateDir, 'keys'),
    cloudsYaml: join(stateDir, 'clouds.yaml'),
    openrc: join(stateDir, 'openrc'),
  };
}

/** Makes what is missing, and sets the modes right whatever the umask is. */
export function makeStateDir({ stateDir, runtimeDir }: Pick<Config, 'stateDir' | 'runtimeDir'>): StatePaths {
  const paths = statePathsOf(stateDir);
  const folder = (path: string, mode: number) => {
    mkdirSync(path, { recursive: true, mode });
    chmodSync(path, mode);
  };
  folder(paths.root, 0o711);
  for (const path of [paths.volumes, paths.images, paths.servers, paths.repositories, paths.keys]) folder(path, 0o700);
  // A parent in a shared folder (/tmp) may have been put there by a stranger, who could then move our sockets away.
  const above = dirname(runtimeDir);
  if (above !== paths.root) folder(above, 0o711);
  folder(runtimeDir, 0o711);
  // Names that a power cut could take away again would take along what lies behind them.
  for (const path of [dirname(paths.root), paths.root, paths.volumes, paths.images, paths.repositories, paths.keys]) syncFolder(path);
  for (const path of [above, runtimeDir]) {
    if (lstatSync(path).uid !== process.getuid?.()) throw new Error(`${path} belongs to another user: sockets cannot lie there`);
  }
  return paths;
}

/** One that only its owner may read is synced by its owner. */
function syncFolder(path: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return;
    throw error;
  }
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

export class StateDirBusy extends Error {}

export interface StateDirLock {
  release(): void;
}

/** A service that is just stopping gets this long to finish, so that a restart does not fail for being quick. */
const lockWaitSeconds = 5;

export async function lockStateDir(stateDir: string, waitSeconds = lockWaitSeconds): Promise<StateDirLock> {
  const path = join(stateDir, 'lock');
  // A bare descriptor: a file handle would be closed, and the lock lost, when nobody refers to it any more. Not truncated: it names the holder.
  const file = openSync(path, 'a+', 0o600);
  try {
    if (!(await tookLock(file, waitSeconds))) {
      const holder = readFileSync(path, 'utf8').trim();
      throw new StateDirBusy(`another Stillpoint${holder === '' ? '' : ` (process ${holder})`} uses ${stateDir}`);
    }
    noteHolder(file);
  } catch (error) {
    closeSync(file);
    throw error;
  }
  return { release: () => closeSync(file) };
}

/** For people, and for the message of a second service. On a full disk it stays unsaid. */
function noteHolder(file: number): void {
  try {
    ftruncateSync(file);
    writeSync(file, `${process.pid}\n`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

/** `flock` locks the open file that it inherits; the lock stays with this process when `flock` is gone. Children do not inherit it. */
function tookLock(file: number, waitSeconds: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const flock = spawn('flock', ['--exclusive', '--wait', String(waitSeconds), '--conflict-exit-code', '75', '3'], {
      stdio: ['ignore', 'ignore', 'inherit', file],
    });
    flock.once('error', (error) => reject(new Error(`flock could not be started: ${error.message}`, { cause: error })));
    flock.once('exit', (code) => {
      if (code === 0) resolve(true);
      else if (code === 75) resolve(false);
      else reject(new Error(`the state directory could not be locked: flock ended with ${code}`));
    });
  });
}

const passwordFileName = 'admin-password';

/**
 * The first administrator's password: chosen at the first start and kept in a key file, so that the credentials can be written anew
 * at every start (the address may have changed). It is stored before anything uses it.
 */
export async function adminPassword(paths: StatePaths): Promise<string> {
  const path = join(paths.keys, passwordFileName);
  const stored = await readFile(path, 'utf8').catch(ifMissing(undefined));
  if (stored !== undefined && stored.trim() !== '') return stored.trim();
  const password = randomBytes(24).toString('base64url');
  await writeSecret(path, `${password}\n`);
  return password;
}

const sealingKeyFileName = 'stored-secrets';

/**
 * The key for secrets that users keep in the database: chosen at the first start. Without it what was sealed with it is lost, so a file that is
 * not what it has to be is an error, never a reason for a new key.
 */
export async function sealingKey(paths: StatePaths): Promise<Buffer> {
  const path = join(paths.keys, sealingKeyFileName);
  const stored = await readFile(path, 'utf8').catch(ifMissing(undefined));
  if (stored === undefined) {
    const key = randomBytes(sealingKeyBytes);
    await writeSecret(path, `${key.toString('base64')}\n`);
    return key;
  }
  const key = Buffer.from(stored.trim(), 'base64');
  if (key.length !== sealingKeyBytes) throw new Error(`${path} holds no key of ${sealingKeyBytes} bytes: put the right file back`);
  return key;
}

export interface ClientCredentials {
  readonly publicUrl: string;
  readonly userName: string;
  readonly password: string;
  readonly projectName: string;
}

export const cloudName = 'stillpoint';

/** Writes `clouds.yaml` (cloud `stillpoint`) and `openrc`: what every client of an OpenStack cloud reads. */
export async function writeCredentials(paths: StatePaths, credentials: ClientCredentials): Promise<void> {
  const { publicUrl, userName, password, projectName } = credentials;
  const authUrl = `${publicUrl}/identity/v3`;
  const cloud = {
    auth: {
      auth_url: authUrl,
      username: userName,
      password,
      project_name: projectName,
      user_domain_name: 'Default',
      project_domain_name: 'Default',
    },
    region_name: 'RegionOne',
    interface: 'public',
    identity_api_version: 3,
    volume_api_version: 3,
    image_api_version: 2,
  };
  // Other clouds that someone added to the file stay.
  const others = await otherClouds(paths.cloudsYaml);
  await writeSecret(paths.cloudsYaml, stringify({ clouds: { ...others, [cloudName]: cloud } }));
  // No OS_VOLUME_API_VERSION: '3' would hold the `cinder` client at 3.0, which knows nothing of half its own commands.
  const variables = {
    OS_AUTH_TYPE: 'password',
    OS_AUTH_URL: authUrl,
    OS_USERNAME: userName,
    OS_PASSWORD: password,
    OS_PROJECT_NAME: projectName,
    OS_USER_DOMAIN_NAME: 'Default',
    OS_PROJECT_DOMAIN_NAME: 'Default',
    OS_REGION_NAME: 'RegionOne',
    OS_INTERFACE: 'public',
    OS_IDENTITY_API_VERSION: '3',
    OS_IMAGE_API_VERSION: '2',
  };
  const lines = Object.entries(variables).map(([name, value]) => `export ${name}='${value.replaceAll("'", String.raw`'\''`)}'\n`);
  await writeSecret(paths.openrc, lines.join(''));
}

async function otherClouds(path: string): Promise<Record<string, unknown>> {
  const text = await readFile(path, 'utf8').catch(ifMissing(''));
  try {
    const document: unknown = parse(text);
    const clouds = typeof document === 'object' && document !== null ? (document as { clouds?: unknown }).clouds : undefined;
    return typeof clouds === 'object' && clouds !== null ? { ...clouds } : {};
  } catch {
    // What nobody can parse helps nobody; the password does not depend on it.
    return {};
  }
}

/** What stands there already takes no space on a disk that may be full. */
async function writeSecret(path: string, text: string): Promise<void> {
  const mode = (await stat(path).catch(ifMissing(undefined)))?.mode ?? 0;
  const present = await readFile(path, 'utf8').catch(ifMissing(undefined));
  if (present !== text || (mode & 0o777) !== 0o600) await replaceBytesDurably(path, Buffer.from(text));
}

const ifMissing =
  <Value>(value: Value) =>
  (error: NodeJS.ErrnoException): Value => {
    if (error.code === 'ENOENT') return value;
    throw error;
  };
