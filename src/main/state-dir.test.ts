import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parse } from 'yaml';
import { adminPassword, lockStateDir, makeStateDir, StateDirBusy, statePathsOf, writeCredentials } from './state-dir.ts';

let stateDir: string;
let holder: ChildProcess | undefined;

beforeEach(async () => {
  stateDir = join(await mkdtemp(join(tmpdir(), 'stillpoint-state-')), 'state');
});

afterEach(async () => {
  holder?.kill('SIGKILL');
  holder = undefined;
  await rm(join(stateDir, '..'), { recursive: true, force: true });
});

const make = () => makeStateDir({ stateDir, runtimeDir: join(stateDir, 'run') });
const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);

/** Another process that holds the lock until it is killed. */
async function startHolder(): Promise<ChildProcess> {
  const module = JSON.stringify(join(import.meta.dirname, 'state-dir.ts'));
  const script = `const { lockStateDir } = await import(${module}); await lockStateDir(${JSON.stringify(stateDir)}); console.log('held'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

it('lets others pass through the state directory and into nothing else, whatever the umask', async () => {
  const before = process.umask(0o077);
  try {
    make();
  } finally {
    process.umask(before);
  }
  expect(await modeOf(stateDir)).toBe('711');
  expect(await modeOf(join(stateDir, 'keys'))).toBe('700');
  expect(await modeOf(join(stateDir, 'volumes'))).toBe('700');
});

it('keeps a second service out and names the first', async () => {
  make();
  holder = await startHolder();
  await expect(lockStateDir(stateDir, 0.2)).rejects.toThrow(StateDirBusy);
  await expect(lockStateDir(stateDir, 0.2)).rejects.toThrow(`process ${holder.pid}`);
});

it('is free at once after kill -9', async () => {
  make();
  holder = await startHolder();
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const lock = await lockStateDir(stateDir, 0.2);
  lock.release();
});

it('waits for a service that is about to end', async () => {
  make();
  const running = await startHolder();
  holder = running;
  setTimeout(() => running.kill('SIGKILL'), 300);
  const lock = await lockStateDir(stateDir, 10);
  lock.release();
});

it('does not hand the lock to children, which outlive the service', async () => {
  make();
  const lock = await lockStateDir(stateDir, 0.2);
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    await once(child, 'spawn');
    lock.release();
    const again = await lockStateDir(stateDir, 0.2);
    again.release();
  } finally {
    child.kill('SIGKILL');
  }
});

it('chooses a password once', async () => {
  const paths = make();
  const first = await adminPassword(paths);
  expect(first.length).toBeGreaterThanOrEqual(32);
  expect(await adminPassword(paths)).toBe(first);
  expect(await modeOf(join(paths.keys, 'admin-password'))).toBe('600');
});

it('writes credentials that only their owner reads, and keeps other clouds in the file', async () => {
  const paths = make();
  await writeFile(paths.cloudsYaml, 'clouds:\n  other:\n    auth: {auth_url: http://other}\n', { mode: 0o644 });
  await writeCredentials(paths, { publicUrl: 'http://127.0.0.1:8700', userName: 'admin', password: "it's", projectName: 'admin' });
  expect(await modeOf(paths.cloudsYaml)).toBe('600');
  expect(await modeOf(paths.openrc)).toBe('600');
  const { clouds } = parse(await readFile(paths.cloudsYaml, 'utf8'));
  expect(clouds.other.auth.auth_url).toBe('http://other');
  expect(clouds.stillpoint).toMatchObject({
    auth: { auth_url: 'http://127.0.0.1:8700/identity/v3', username: 'admin', password: "it's", project_name: 'admin' },
    region_name: 'RegionOne',
    volume_api_version: 3,
  });
});

it('writes an openrc that a shell reads back exactly', async () => {
  const paths = statePathsOf(make().root);
  await writeCredentials(paths, { publicUrl: 'http://h:1', userName: 'admin', password: `a'b"c $HOME`, projectName: 'admin' });
  const shell = spawn('sh', ['-c', `. ${paths.openrc}; printf %s "$OS_PASSWORD"`]);
  const [output] = await once(shell.stdout, 'data');
  expect(String(output)).toBe(`a'b"c $HOME`);
});

it('lets clients of Block Storage choose the newest version themselves', async () => {
  const paths = statePathsOf(make().root);
  await writeCredentials(paths, { publicUrl: 'http://h:1', userName: 'admin', password: 'secret', projectName: 'admin' });
  expect(await readFile(paths.openrc, 'utf8')).not.toContain('OS_VOLUME_API_VERSION');
});
