/**
 * What a server keeps on its host beside its disks, `<root>/<its id>/`, mode 0700: the config drive, a kernel that is started directly, and what the guest
 * said on its console. It is there from the server's first moment to its last, whether a machine runs or not.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from '../../lib/durable-files.ts';

/** Paths; null for what the server does not have. */
export interface FilesOfMachine {
  readonly consolePath: string;
  readonly configDrivePath: string | null;
  readonly kernelPath: string | null;
  readonly initrdPath: string | null;
}

export interface MachineFiles {
  /** Makes the folder. Returns where its files belong; who writes them does so under another name first. Repeatable. */
  prepare(id: string): Promise<PathsOfMachine>;
  /** What is there. */
  of(id: string): Promise<FilesOfMachine>;
  consolePath(id: string): string;
  remove(id: string): Promise<void>;
}

export interface PathsOfMachine {
  readonly configDrivePath: string;
  readonly kernelPath: string;
  readonly initrdPath: string;
}

export function createMachineFiles(root: string): MachineFiles {
  const folderOf = (id: string): string => join(root, id);
  const consolePath = (id: string): string => join(folderOf(id), 'console');
  const pathsOf = (id: string): PathsOfMachine => ({
    configDrivePath: join(folderOf(id), 'config.iso'),
    kernelPath: join(folderOf(id), 'kernel'),
    initrdPath: join(folderOf(id), 'initrd'),
  });
  const present = (path: string): string | null => (existsSync(path) ? path : null);

  return {
    async prepare(id) {
      await mkdir(folderOf(id), { recursive: true, mode: 0o700 });
      await syncFolder(root);
      return pathsOf(id);
    },
    async of(id) {
      const { configDrivePath, kernelPath, initrdPath } = pathsOf(id);
      return {
        consolePath: consolePath(id),
        configDrivePath: present(configDrivePath),
        kernelPath: present(kernelPath),
        initrdPath: present(initrdPath),
      };
    },
    consolePath,
    remove: (id) => rm(folderOf(id), { recursive: true, force: true }),
  };
}
