/**
 * Servers of disks as this machine shows them, without asking any row: folders in the runtime folder, and storage daemons whose arguments name a
 * folder there together with the id that the folder's name is made of. Whatever does not name both is somebody else's, and left alone.
 */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type FoundProcess, findProcesses } from '../../../lib/processes.ts';
import type { DiskExport } from '../contract.ts';
import type { FoundExport, LayerInventory } from '../inventory-contract.ts';
import { exportFolderOf, folderAt, removeExportFolder } from './export-folder.ts';
import { daemonExportId } from './export-graph.ts';
import { storageDaemon } from './find-process.ts';

export interface FoundExportsDeps {
  readonly runtimeDir: string;
  readonly close: (target: DiskExport) => Promise<void>;
}

/** Other things lie in the runtime folder, too: PostgreSQL's socket, say. */
const folderName = /^[0-9a-f]{12}$/;
const idPrefix = daemonExportId('');

export function createFoundExports({
  runtimeDir,
  close,
}: FoundExportsDeps): Pick<LayerInventory, 'listExports' | 'exportNameOf' | 'endFoundExport'> {
  const nameOf = (exportId: string): string => basename(exportFolderOf(runtimeDir, exportId).path);

  async function daemons(): Promise<Map<string, DiskExport>> {
    const found = new Map<string, DiskExport>();
    for (const daemon of await findProcesses(storageDaemon)) {
      const target = exportOf(daemon);
      if (target !== undefined && dirname(target.monitorPath) === exportFolderOf(runtimeDir, target.id).path)
        found.set(nameOf(target.id), target);
    }
    return found;
  }

  return {
    exportNameOf: nameOf,
    async listExports() {
      const running = await daemons();
      const folders = (await readdir(runtimeDir).catch(() => [])).filter((name) => folderName.test(name));
      return [...new Set([...running.keys(), ...folders])].map((name) => describe(name, running.get(name)));
    },
    async endFoundExport(name) {
      if (!folderName.test(name)) throw new RangeError(`${JSON.stringify(name)} names no export`);
      const target = (await daemons()).get(name);
      if (target !== undefined) await close(target);
      const path = join(runtimeDir, name);
      if (existsSync(path)) await removeExportFolder(folderAt(path));
    },
  };
}

function describe(name: string, target: DiskExport | undefined): FoundExport {
  if (target === undefined) return { name, home: undefined, isAlive: false, description: `the folder ${name} of a server that has ended` };
  return { name, home: target.home, isAlive: true, description: `process ${target.processId}, which serves the disk of ${target.home}` };
}

/** What the arguments of a process say; undefined when it is no server of a disk. */
function exportOf({ id: processId, args }: FoundProcess): DiskExport | undefined {
  const argumentOf = (option: string): string => args[args.lastIndexOf(option) + 1] ?? '';
  const id = /"id":"([^"]+)"/.exec(argumentOf('--export'))?.[1];
  const socketPath = pathIn(argumentOf('--nbd-server'), 'addr.path');
  const monitorPath = pathIn(argumentOf('--chardev'), 'path');
  // The last node with a file is the top; its file lies in the home of the disk.
  const topPath = args.flatMap((argument) => /"filename":"([^"]+)"/.exec(argument)?.[1] ?? []).at(-1);
  if (id?.startsWith(idPrefix) !== true || socketPath === undefined || monitorPath === undefined || topPath === undefined) return undefined;
  return { id: id.slice(idPrefix.length), home: basename(dirname(topPath)), socketPath, monitorPath, processId };
}

/** In option strings a comma is written twice. */
function pathIn(options: string, key: string): string | undefined {
  const value = new RegExp(`(?:^|,)${key.replace('.', '\\.')}=((?:[^,]|,,)*)`).exec(options)?.[1];
  return value?.replaceAll(',,', ',');
}
