/**
 * What a server keeps on its host beside its disks, `<root>/<its id>/`, mode 0700: the config drive, a kernel that is started directly, and what the guest
 * said on its console. It is there from the server's first moment to its last, whether a machine runs or not.
 */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFile, syncFolder } from '../../lib/durable-files.ts';

/** Paths; null for what the server does not have. */
export interface FilesOfMachine {
  readonly consolePath: string;
  readonly configDrivePath: string | null;
  readonly kernelPath: string | null;
  readonly initrdPath: string | null;
}

export interface MachineFiles {
  /** Makes the folder, and copies of the kernel's files: images may be deleted. Repeatable. Returns where a config drive belongs. */
  prepare(id: string, kernel: { readonly kernelPath: string; readonly initrdPath: string | null } | null): Promise<{ configDrivePath: string }>;
  of(id: string): Promise<FilesOfMachine>;
  consolePath(id: string): string;
  remove(id: string): Promise<void>;
}

export function createMachineFiles(root: string): MachineFiles {
  const folderOf = (id: string): string => join(root, id);
  const consolePath = (id: string): string => join(folderOf(id), 'console.log');
  const present = (id: string, name: string): string | null => (existsSync(join(folderOf(id), name)) ? join(folderOf(id), name) : null);

  async function copyIn(id: string, name: string, source: string): Promise<void> {
    const target = join(folderOf(id), name);
    await copyFile(source, target);
    await syncFile(target);
  }

  return {
    async prepare(id, kernel) {
      await mkdir(folderOf(id), { recursive: true, mode: 0o700 });
      if (kernel !== null) {
        await copyIn(id, 'kernel', kernel.kernelPath);
        if (kernel.initrdPath !== null) await copyIn(id, 'initrd', kernel.initrdPath);
      }
      await syncFolder(folderOf(id));
      await syncFolder(root);
      return { configDrivePath: join(folderOf(id), 'config.iso') };
    },
    of: async (id) => ({
      consolePath: consolePath(id),
      configDrivePath: present(id, 'config.iso'),
      kernelPath: present(id, 'kernel'),
      initrdPath: present(id, 'initrd'),
    }),
    consolePath,
    remove: (id) => rm(folderOf(id), { recursive: true, force: true }),
  };
}
