/**
 * Everything that a fresh clone lacks, in an order that fails early: Debian's tools, packages, Node.
 *
 * Runs on whatever Node the machine has (20 or newer), uses no packages, and says nothing when nothing is missing. It runs before every
 * start, so the common case costs a few file look-ups and no process.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, closeSync, constants, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { findNode, nodeFolder, root } from './node.mjs';

const lockFile = join(root, 'package-lock.json');
const marker = join(root, 'node_modules/.stillpoint-lock');

/** Ends the set-up with a message for the user. */
export class SetupError extends Error {}

/** Sets up what is missing for `needs` (`service`, `test`, `conformance`, `bench`) and returns the path of the pinned Node. */
export function prepare(needs) {
  if (process.platform !== 'linux') throw new SetupError('Stillpoint runs on Linux.');
  if (nodeFolder() === undefined) throw new SetupError(`Stillpoint has no Node for ${process.arch}: x64 and arm64 only.`);
  prepareTools(needs);
  preparePackages();
  const node = findNode();
  if (node === undefined)
    throw new SetupError('The packages hold no Node: they were installed with --omit=optional. Remove node_modules and start again.');
  return node;
}

/** `prepare` for scripts: prints what stands in the way and ends the process. */
export function prepareOrExit(needs) {
  try {
    return prepare(needs);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}

// Debian's tools

function prepareTools(needs) {
  const missing = missingPackages(needs);
  if (missing.length === 0) return;
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...missing];
  if (!isRoot() || !isOnPath('apt-get')) {
    const prefix = isRoot() ? '' : 'sudo ';
    throw new SetupError(
      `Stillpoint needs tools of Debian's that are missing here. Install them, then start again:\n\n  ${prefix}${install.join(' ')}\n`,
    );
  }
  note(`Installing ${missing.join(', ')} ...`);
  // The lists are missing or old on a machine where this fails; fetching them every time would cost seconds.
  if (!quietly(install).ok) {
    quietly(['apt-get', 'update']);
    const { ok, output } = quietly(install);
    if (!ok) throw new SetupError(`${output}\nThis failed: ${install.join(' ')}`);
  }
  const still = missingPackages(needs);
  if (still.length > 0) throw new SetupError(`Installed, but still not there: ${still.join(', ')}`);
}

function missingPackages(needs) {
  const tools = JSON.parse(readFileSync(join(root, 'setup/tools.json'), 'utf8'));
  const isThere = (tool) => (tool.file === undefined ? isOnPath(tool.command) : existsSync(tool.file));
  const missing = tools.filter((tool) => (tool.for === 'service' || needs.includes(tool.for)) && !isThere(tool));
  return [...new Set(missing.map((tool) => tool.package))];
}

function isOnPath(command) {
  // A user's PATH often lacks the sbin folders, where mkfs lives.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => folder !== '' && isExecutable(join(folder, command)));
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

// Packages

function preparePackages() {
  if (packagesMatch()) return;
  const lock = openSync(join(root, '.setup.lock'), 'a');
  try {
    // The lock belongs to the open file, which `flock` shares with this process: it ends with us, whatever way we end.
    if (spawnSync('flock', ['3'], { stdio: ['ignore', 'ignore', 'ignore', lock] }).status !== 0)
      throw new SetupError('The set-up lock could not be taken.');
    if (packagesMatch()) return;
    note('Installing packages (npm ci) ...');
    // No package's own script is run: what they would do is done where it is needed.
    const { ok, output } = quietly(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
    if (!ok) throw new SetupError(`${output}\nThis failed: npm ci`);
    const node = findNode();
    if (node !== undefined && spawnSync(node, ['--version']).status !== 0) throw new SetupError(`${node} does not run on this machine.`);
    writeFileSync(marker, lockHash());
  } finally {
    closeSync(lock);
  }
}

function packagesMatch() {
  if (!existsSync(lockFile)) throw new SetupError(`${lockFile} is missing: this is no complete clone.`);
  if (existsSync(marker) && readFileSync(marker, 'utf8') === lockHash()) return true;
  if (!installedAsLocked()) return false;
  writeFileSync(marker, lockHash());
  return true;
}

function lockHash() {
  return createHash('sha256').update(readFileSync(lockFile)).digest('hex');
}

/** True when a plain `npm ci` or `npm install` put exactly the locked versions there: npm writes down what it installed. */
function installedAsLocked() {
  const written = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(written)) return false;
  const installed = JSON.parse(readFileSync(written, 'utf8')).packages;
  const locked = JSON.parse(readFileSync(lockFile, 'utf8')).packages;
  return Object.entries(locked).every(([path, entry]) => {
    if (path === '' || installed[path]?.version === entry.version) return true;
    return installed[path] === undefined && entry.optional === true && !isForThisPlatform(entry);
  });
}

/** Optional packages without a platform come with one for a platform of its own: their absence says nothing. */
function isForThisPlatform({ os, cpu, libc }) {
  const allows = (names, name) => names === undefined || [names].flat().includes(name);
  return os !== undefined && allows(os, process.platform) && allows(cpu, process.arch) && allows(libc, 'glibc');
}

// Help

function isRoot() {
  return process.getuid() === 0;
}

function note(text) {
  process.stderr.write(`${text}\n`);
}

function quietly([program, ...args]) {
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const result = spawnSync(program, args, {
    cwd: root,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  return { ok: result.status === 0, output: result.error === undefined ? `${result.stdout}${result.stderr}` : result.error.message };
}
