/** The tools that people use today, on the same image: each writes durably where it can be told to. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { storedBytes, timeProgram } from './measure.ts';

export interface Peer {
  readonly name: string;
  /** Forgets everything and makes an empty repository. */
  reset(): void;
  backup(imagePath: string): Promise<number>;
  /** Undefined: the tool has no restore worth a name. */
  readonly restore: ((imagePath: string) => Promise<number>) | undefined;
  stored(): number;
}

const shell = (script: string, ...args: string[]): Promise<number> => timeProgram('sh', ['-ec', script, 'sh', ...args]);

export function createPeers(folder: string): { readonly restic: Peer; readonly borg: Peer; readonly zstd: Peer } {
  return { restic: restic(join(folder, 'restic')), borg: borg(join(folder, 'borg')), zstd: zstd(join(folder, 'zstd')) };
}

/** With its defaults. The restored file is synced, as it does not do that itself. */
function restic(repository: string): Peer {
  const environment = { RESTIC_PASSWORD: 'bench', RESTIC_REPOSITORY: repository, RESTIC_CACHE_DIR: `${repository}-cache` };
  const target = `${repository}-restored`;
  return {
    name: 'restic',
    reset() {
      for (const path of [repository, `${repository}-cache`, target]) rmSync(path, { recursive: true, force: true });
      execFileSync('restic', ['init'], { env: { ...process.env, ...environment }, stdio: 'ignore' });
    },
    backup: (imagePath) => timeProgram('restic', ['backup', '--quiet', imagePath], environment),
    async restore() {
      rmSync(target, { recursive: true, force: true });
      const startedAt = performance.now();
      await timeProgram('restic', ['restore', 'latest', '--target', target], environment);
      await shell('find "$1" -type f -exec sync {} +', target);
      return (performance.now() - startedAt) / 1000;
    },
    stored: () => storedBytes(repository),
  };
}

function borg(repository: string): Peer {
  const environment = {
    BORG_REPO: repository,
    BORG_CACHE_DIR: `${repository}-cache`,
    BORG_CONFIG_DIR: `${repository}-config`,
    BORG_PASSPHRASE: 'bench',
  };
  let archive = 0;
  return {
    name: 'borg lz4',
    reset() {
      for (const path of [repository, `${repository}-cache`, `${repository}-config`]) rmSync(path, { recursive: true, force: true });
      execFileSync('borg', ['init', '-e', 'repokey-blake2'], { env: { ...process.env, ...environment }, stdio: 'ignore' });
    },
    backup(imagePath) {
      archive += 1;
      return timeProgram('borg', ['create', '--compression', 'lz4', `::a${archive}`, imagePath], environment);
    },
    restore: undefined,
    stored: () => storedBytes(repository),
  };
}

function zstd(folder: string): Peer {
  const packed = join(folder, 'image.zst');
  return {
    name: 'zstd -1 -T2',
    reset() {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
    },
    backup: (imagePath) => shell('zstd -1 -T2 -q -f "$1" -o "$2" && sync "$2"', imagePath, packed),
    restore: undefined,
    stored: () => storedBytes(folder),
  };
}

/** A copy that keeps the holes; `durable` waits until it is on disk. */
export async function copyImage(imagePath: string, target: string, durable: boolean): Promise<number> {
  mkdirSync(dirname(target), { recursive: true });
  rmSync(target, { force: true });
  const seconds = await shell(durable ? 'cp --sparse=always "$1" "$2" && sync "$2"' : 'cp --sparse=always "$1" "$2"', imagePath, target);
  rmSync(target, { force: true });
  return seconds;
}
