/**
 * The settings of one service. This is the only reader of the environment; everything else gets what it needs handed over.
 *
 * All that a service writes lies below its state directory and all it listens on is its one address, so any number of them run side by
 * side, each with a state directory and an address of its own.
 */
import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { type DownloadRules, networkList } from '../engine/image-intake/web-addresses.ts';
import type { CrashAction } from '../lib/crash-points.ts';

export type LogLevel = (typeof logLevels)[number];

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

export interface Config {
  readonly stateDir: string;
  /** For sockets: short, because the path of a socket ends at 107 bytes. */
  readonly runtimeDir: string;
  readonly listen: { readonly host: string; readonly port: number };
  /** What clients call the service, without a slash at the end. Undefined: what they called it in their request. */
  readonly publicUrl: string | undefined;
  /** A PostgreSQL that others look after. Undefined: the service brings its own. */
  readonly databaseUrl: string | undefined;
  readonly logLevel: LogLevel;
  /** New layers, uploads, backups and restores are refused when they would leave less than this free on the file system that they write to. */
  readonly diskReserveBytes: number;
  /** The size of the file that is given up when the state directory's file system is full. 0 = none. */
  readonly ballastBytes: number;
  /** What nobody knows among the disks is kept in the trash for so long before it is deleted. */
  readonly trashDays: number;
  /** Whoever gives so many wrong passwords in a row is locked out for a while; 0 attempts: nobody is. */
  readonly lockout: { readonly attempts: number; readonly durationMs: number };
  /** Tools that read untrusted images may run without a cage where bubblewrap does not work. The operator's decision, never a fall-back. */
  readonly allowUnconfined: boolean;
  /** From where images may be fetched. Undefined: from nowhere. */
  readonly imageDownload: DownloadRules | undefined;
  /** For kill tests: the instant at which this process ends itself or fails. */
  readonly crashPoint: { readonly name: string; readonly action: CrashAction; readonly afterHits: number } | undefined;
  /** For kill tests: a file that gets the name of each such instant when it is first passed. */
  readonly crashPointLog: string | undefined;
  /** True for a service that runs as root: PostgreSQL and confined tools then get users of their own. */
  readonly isRoot: boolean;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** A setting that cannot be used; the message names the variable and what it must look like. */
export class ConfigError extends Error {}

export interface Host {
  readonly isRoot: boolean;
  readonly userId: number;
  readonly home: string;
  readonly workingDir: string;
}

export const thisHost = (): Host => ({
  isRoot: process.getuid?.() === 0,
  userId: process.getuid?.() ?? 0,
  home: homedir(),
  workingDir: process.cwd(),
});

export function readConfig(environment: Environment, host: Host = thisHost()): Config {
  const stateDir = stateDirOf(environment, host);
  return Object.freeze({
    stateDir,
    runtimeDir: runtimeDirOf(stateDir, environment, host),
    listen: listenOf(set(environment, 'STILLPOINT_LISTEN') ?? '127.0.0.1:8700'),
    publicUrl: publicUrlOf(set(environment, 'STILLPOINT_PUBLIC_URL')),
    databaseUrl: databaseUrlOf(set(environment, 'DATABASE_URL')),
    logLevel: logLevelOf(set(environment, 'STILLPOINT_LOG_LEVEL') ?? 'info'),
    diskReserveBytes: bytesOf(environment, 'STILLPOINT_DISK_RESERVE_BYTES', 1 << 30),
    ballastBytes: bytesOf(environment, 'STILLPOINT_BALLAST_BYTES', 64 << 20),
    trashDays: trashDaysOf(set(environment, 'STILLPOINT_TRASH_DAYS') ?? '7'),
    lockout: Object.freeze({
      attempts: countOf(environment, 'STILLPOINT_LOCKOUT_ATTEMPTS', 0),
      durationMs: countOf(environment, 'STILLPOINT_LOCKOUT_SECONDS', 1_800) * 1_000,
    }),
    allowUnconfined: yesOrNo('STILLPOINT_ALLOW_UNCONFINED', set(environment, 'STILLPOINT_ALLOW_UNCONFINED') ?? 'no'),
    imageDownload: imageDownloadOf(environment),
    crashPoint: crashPointOf(set(environment, 'STILLPOINT_CRASH_POINT')),
    crashPointLog: set(environment, 'STILLPOINT_CRASH_POINT_LOG'),
    isRoot: host.isRoot,
  });
}

/** Where the state lies; commands that only look for credentials need nothing else. */
export function stateDirOf(environment: Environment, host: Host = thisHost()): string {
  const given = set(environment, 'STILLPOINT_STATE_DIR');
  if (given !== undefined) return resolve(host.workingDir, given);
  if (host.isRoot) return '/var/lib/stillpoint';
  const base = set(environment, 'XDG_STATE_HOME');
  // The XDG rules say that a relative path there is to be ignored.
  return join(base !== undefined && isAbsolute(base) ? base : join(host.home, '.local/state'), 'stillpoint');
}

const defaultDownloadPorts = [80, 443];
const stateDirBytesMaxForSockets = 40;

/** Below the state directory where its path is short enough; else a folder of its own, found by the state directory's path. */
function runtimeDirOf(stateDir: string, environment: Environment, host: Host): string {
  if (Buffer.byteLength(stateDir) <= stateDirBytesMaxForSockets) return join(stateDir, 'run');
  const name = createHash('sha256').update(stateDir).digest('hex').slice(0, 16);
  if (host.isRoot) return join('/run/stillpoint', name);
  const base = set(environment, 'XDG_RUNTIME_DIR');
  return base === undefined ? join('/tmp', `stillpoint-${host.userId}`, name) : join(base, 'stillpoint', name);
}

function imageDownloadOf(environment: Environment): DownloadRules | undefined {
  if (!yesOrNo('STILLPOINT_IMAGE_DOWNLOAD', set(environment, 'STILLPOINT_IMAGE_DOWNLOAD') ?? 'no')) return undefined;
  const listOf = (name: string): string[] => (set(environment, name) ?? '').split(/[\s,]+/).filter((part) => part !== '');
  const allowedNetworks = listOf('STILLPOINT_IMAGE_DOWNLOAD_NETWORKS');
  try {
    networkList(allowedNetworks);
  } catch {
    throw new ConfigError(
      `STILLPOINT_IMAGE_DOWNLOAD_NETWORKS is '${allowedNetworks.join(',')}'; it must be a list of networks such as 10.1.0.0/16,fd00::/8`,
    );
  }
  const ports = listOf('STILLPOINT_IMAGE_DOWNLOAD_PORTS').map(Number);
  if (!ports.every((port) => Number.isInteger(port) && port > 0 && port <= 65_535))
    throw new ConfigError('STILLPOINT_IMAGE_DOWNLOAD_PORTS must be a list of ports such as 80,443,8080');
  return Object.freeze({ allowedNetworks, allowedPorts: ports.length === 0 ? defaultDownloadPorts : ports });
}

/** An empty variable is one that was not set, as in most programs. */
function set(environment: Environment, name: string): string | undefined {
  const value = environment[name]?.trim();
  return value === '' ? undefined : value;
}

function listenOf(text: string): Config['listen'] {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    throw new ConfigError(
      `STILLPOINT_LISTEN is '${text}'; it must be an address and a port: 127.0.0.1:8700 or [::1]:8700 (port 0: any free one)`,
    );
  }
  return Object.freeze({ host, port });
}

function publicUrlOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '' || url.username !== '') {
    throw new ConfigError(`STILLPOINT_PUBLIC_URL is '${text}'; it must be an address such as https://cloud.example.org`);
  }
  return url.href.replace(/\/+$/, '');
}

function databaseUrlOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.parse(text);
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol)) {
    // The value may hold a password: it is not repeated.
    throw new ConfigError(
      'DATABASE_URL must be an address such as postgresql://user:password@host/database or postgresql:///database?host=/run/postgresql&user=user',
    );
  }
  return text;
}

function logLevelOf(text: string): LogLevel {
  const level = logLevels.find((one) => one === text);
  if (level === undefined) throw new ConfigError(`STILLPOINT_LOG_LEVEL is '${text}'; it must be one of ${logLevels.join(', ')}`);
  return level;
}

function bytesOf(environment: Environment, name: string, ifUnset: number): number {
  const text = set(environment, name);
  if (text === undefined) return ifUnset;
  const bytes = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(bytes))
    throw new ConfigError(`${name} is '${text}'; it must be a whole number of bytes`);
  return bytes;
}

const countMax = 1_000_000;

function countOf(environment: Environment, name: string, ifUnset: number): number {
  const text = set(environment, name);
  if (text === undefined) return ifUnset;
  const count = /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count <= countMax)) throw new ConfigError(`${name} is '${text}'; it must be a whole number up to ${countMax}`);
  return count;
}

function yesOrNo(name: string, text: string): boolean {
  if (text !== 'yes' && text !== 'no') throw new ConfigError(`${name} is '${text}'; it must be yes or no`);
  return text === 'yes';
}

const trashDaysMax = 3650;

function trashDaysOf(text: string): number {
  const days = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (!(days <= trashDaysMax))
    throw new ConfigError(`STILLPOINT_TRASH_DAYS is '${text}'; it must be a number of days up to ${trashDaysMax}`);
  return days;
}

function crashPointOf(text: string | undefined): Config['crashPoint'] {
  if (text === undefined) return undefined;
  // Names of points hold colons themselves.
  const match = /^(.+):(kill|fail|stop)(?::(\d+))?$/.exec(text);
  const [, name, action, afterHits] = match ?? [];
  if (name === undefined || (action !== 'kill' && action !== 'fail' && action !== 'stop')) {
    throw new ConfigError(
      `STILLPOINT_CRASH_POINT is '${text}'; it must be NAME:kill, NAME:fail or NAME:stop, with :HITS behind it if wanted`,
    );
  }
  return Object.freeze({ name, action, afterHits: Number(afterHits ?? 0) });
}
