/**
 * What one export leaves on the machine, `<runtimeDir>/<12 hex digits of its id>/`, mode 0700: the two sockets, the log of the daemon,
 * its pid file, and `export.json`, which is written when the daemon answers. The socket's name is random: whoever shall connect is told it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceBytesDurably } from '../../../lib/durable-files.ts';
import { checkSocketPaths } from '../../qemu/socket-paths.ts';
import type { DiskExport } from '../contract.ts';

const folderNameLength = 12;
const socketNameLength = 'n-'.length + 32;

export interface ExportFolder {
  readonly path: string;
  readonly logPath: string;
  readonly pidPath: string;
}

export function checkRuntimeDir(runtimeDir: string): void {
  checkSocketPaths(runtimeDir, 1 + folderNameLength + 1 + socketNameLength);
}

export function exportFolderOf(runtimeDir: string, exportId: string): ExportFolder {
  const path = join(runtimeDir, createHash('sha256').update(exportId).digest('hex').slice(0, folderNameLength));
  return folderAt(path);
}

export const folderAt = (path: string): ExportFolder => ({ path, logPath: join(path, 'log'), pidPath: join(path, 'pid') });

export async function makeExportFolder(folder: ExportFolder): Promise<{ socketPath: string; monitorPath: string }> {
  await mkdir(folder.path, { recursive: true, mode: 0o700 });
  return { socketPath: join(folder.path, `n-${randomBytes(16).toString('hex')}`), monitorPath: join(folder.path, 'monitor') };
}

export async function recordExport(folder: ExportFolder, record: DiskExport): Promise<void> {
  await replaceBytesDurably(join(folder.path, 'export.json'), Buffer.from(JSON.stringify(record)));
}

/** What was recorded; undefined when the export never came up. */
export async function readExport(folder: ExportFolder): Promise<DiskExport | undefined> {
  try {
    return JSON.parse(await readFile(join(folder.path, 'export.json'), 'utf8')) as DiskExport;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export async function removeExportFolder(folder: ExportFolder): Promise<void> {
  await rm(folder.path, { recursive: true, force: true });
}
