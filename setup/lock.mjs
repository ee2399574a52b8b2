/**
 * `npm run lock`: writes package-lock.json anew from package.json.
 *
 * Two habits of npm make its own lock files unfit for other machines: made beside an existing node_modules they leave out builds for
 * other platforms, and made against a registry that does not carry all of those builds they leave those out for ever; `npm ci` then
 * refuses the file. So the lock is made in an empty folder, and every platform build that is named but missing is entered with the
 * platform that its name says. Such an entry has no checksum: it keeps the file complete. No build for x64 Linux may be
 * among them.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './node.mjs';

const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'wasi', 'win32'];
const processors = ['arm', 'arm64', 'ia32', 'loong64', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];

const folder = mkdtempSync(join(tmpdir(), 'stillpoint-lock-'));
try {
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
    // `--anew` lets every indirect package move to its newest allowed version.
    if (existsSync(join(root, name)) && !(name === 'package-lock.json' && process.argv.includes('--anew')))
      cpSync(join(root, name), join(folder, name));
  }
  const { status } = spawnSync('npm', ['install', '--package-lock-only', '--ignore-scripts', '--loglevel=error'], {
    cwd: folder,
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(1);
  const lock = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'));
  lock.packages = completed(lock.packages);
  writeFileSync(join(root, 'package-lock.json'), `${JSON.stringify(lock, null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function completed(packages) {
  const all = { ...packages };
  for (const [path, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (isLocked(packages, path, name)) continue;
      all[`node_modules/${name}`] = { version, ...platformOf(name), ...(entry.dev ? { dev: true } : {}), optional: true };
    }
  }
  const [[self, rest], ...others] = Object.entries(all);
  return Object.fromEntries([[self, rest], ...others.sort(([a], [b]) => (a < b ? -1 : 1))]);
}

function isLocked(packages, path, name) {
  return `${path}/node_modules/${name}` in packages || `node_modules/${name}` in packages;
}

function platformOf(name) {
  const words = name.split('/').at(-1).split('-');
  const system = words.find((word) => systems.includes(word));
  const processor = words.find((word) => processors.includes(word));
  if (system === undefined || processor === undefined) throw new Error(`${name} is not in the registry and its name says no platform`);
  const libc = words.some((word) => word.startsWith('musl')) ? 'musl' : 'glibc';
  if (system === 'linux' && libc === 'glibc' && processor === 'x64') throw new Error(`${name} is needed and not in the registry`);
  return { cpu: [processor], os: [system], ...(system === 'linux' ? { libc: [libc] } : {}) };
}
