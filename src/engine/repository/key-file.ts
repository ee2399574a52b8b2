/**
 * The master key of a repository: a small text file of mode 0600, kept apart from the store. Whoever has it and the store has every
 * backup; without it nobody has any, the owner included.
 *
 *     stillpoint repository key, format 0
 *     repository 6f1c…
 *     key 9b0d… (64 hex digits)
 *
 * A new key lies beside its place as `<file>.new` until its repository was made. So a key file in its place means that the repository
 * exists: when it is not where it should be, it is lost or not mounted, and must not be made anew there.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, unlinkSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf } from '../../lib/errors.ts';
import { RepositoryError } from './errors.ts';
import { FORMAT_VERSION } from './format.ts';
import { KEY_BYTES } from './sealing.ts';

export interface MasterKey {
  readonly repositoryId: string;
  readonly key: Buffer;
}

const HEADING = `stillpoint repository key, format ${FORMAT_VERSION}`;
const pattern = /^stillpoint repository key, format (\d+)\nrepository ([A-Za-z0-9][A-Za-z0-9._-]{0,63})\nkey ([0-9a-f]{64})\n?$/;

/** Undefined when there is no such file. */
export function readKeyFile(path: string): MasterKey | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new RepositoryError('locked-out', `the key file ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  const match = pattern.exec(text);
  if (match?.[2] === undefined || match[3] === undefined) throw new RepositoryError('locked-out', `${path} is not a repository key file`);
  if (match[1] !== String(FORMAT_VERSION)) throw new RepositoryError('unsupported', `the key file ${path} has format ${match[1]}`);
  return { repositoryId: match[2], key: Buffer.from(match[3], 'hex') };
}

/** Makes a new key for a repository that is about to be made, or returns the one that an earlier attempt made. Durable before it returns. */
export function stageKeyFile(keyFile: string, repositoryId: string): MasterKey {
  const path = stagedPath(keyFile);
  const text = `${HEADING}\nrepository ${repositoryId}\nkey ${randomBytes(KEY_BYTES).toString('hex')}\n`;
  const temporary = `${path}.${randomBytes(8).toString('hex')}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeDurably(temporary, text);
    try {
      linkSync(temporary, path);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    } finally {
      unlinkSync(temporary);
    }
    flush(dirname(path));
  } catch (error) {
    const kind = codeOf(error) === 'ENOSPC' ? 'full' : 'transport';
    throw new RepositoryError(kind, `the key file ${path} cannot be written: ${messageOf(error)}`, { cause: error });
  }
  const made = readKeyFile(path);
  if (made === undefined) throw new RepositoryError('locked-out', `the key file ${path} is gone again`);
  return made;
}

/** Puts a staged key into its place. Repeatable; does nothing when none is staged. */
export function publishKeyFile(keyFile: string): void {
  try {
    linkSync(stagedPath(keyFile), keyFile);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return;
    if (code !== 'EEXIST')
      throw new RepositoryError('transport', `the key file ${keyFile} cannot be made: ${messageOf(error)}`, { cause: error });
  }
  flush(dirname(keyFile));
  rmSync(stagedPath(keyFile), { force: true });
}

const stagedPath = (keyFile: string): string => `${keyFile}.new`;

function writeDurably(path: string, text: string): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function flush(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
