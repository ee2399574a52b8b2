import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
const runModule = JSON.stringify(join(root, 'setup/run.mjs'));

let folder: string;
let children: ChildProcess[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-setup-'));
  children = [];
});

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

describe('bin/stillpoint', () => {
  it('works through a link and from any folder', async () => {
    const link = join(folder, 'stillpoint');
    await symlink(join(root, 'bin/stillpoint'), link);
    const { stdout, status } = spawnSync(process.execPath, [link, '--version'], { cwd: folder, encoding: 'utf8' });
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
    expect({ stdout, status }).toEqual({ stdout: `${version}\n`, status: 0 });
  });

  it('hands on the exit code', () => {
    expect(spawnSync(process.execPath, [join(root, 'bin/stillpoint'), 'no-such-command']).status).toBe(2);
  });
});

it('says which line to type when tools are missing and it may not install them', () => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [join(root, 'setup/start.mjs')], {
    env: { PATH: folder, STILLPOINT_STATE_DIR: join(folder, 'state') },
    encoding: 'utf8',
  });
  expect(status).toBe(1);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^ {2}(?:sudo )?apt-get install -y --no-install-recommends .*qemu-utils.*$/m);
});

it('names every tool once, and the package that has it', async () => {
  const tools: { command?: string; file?: string; package: string; for: string; why: string }[] = JSON.parse(
    await readFile(join(root, 'setup/tools.json'), 'utf8'),
  );
  expect(new Set(tools.map(({ command, file }) => command ?? file)).size).toBe(tools.length);
  for (const tool of tools) expect(Object.values(tool).every((text) => text !== '')).toBe(true);
  expect([...new Set(tools.map((tool) => tool.for))].sort()).toEqual(['bench', 'conformance', 'service', 'test']);
});

describe('a program that set-up runs', () => {
  const launch = (script: string, options = '{}') => {
    const code = `const { run } = await import(${runModule}); process.exitCode = await run(process.execPath, ['-e', ${JSON.stringify(script)}], ${options});`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', code], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    return child;
  };

  it('ends with its own exit code', async () => {
    expect(await once(launch('process.exit(7)'), 'exit')).toEqual([7, null]);
  });

  it('ends as shells say it when a signal ended it', async () => {
    expect(await once(launch('process.kill(process.pid, "SIGKILL")'), 'exit')).toEqual([137, null]);
  });

  it('hears the signals that its launcher gets', async () => {
    const child = launch('process.on("SIGTERM", () => process.exit(5)); setInterval(() => {}, 1000); console.log("up")');
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([5, null]);
  });

  it('is told to stop when its launcher is killed outright', async () => {
    const witness = join(folder, 'stopped');
    const stop = `process.on("SIGTERM", () => { require("node:fs").writeFileSync(${JSON.stringify(witness)}, "yes"); process.exit(); });`;
    const child = launch(`${stop} setInterval(() => {}, 1000); console.log("up")`, '{ whenOrphaned: true }');
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    const deadline = performance.now() + 10_000;
    let text = '';
    while (text !== 'yes' && performance.now() < deadline) {
      await sleep(20);
      text = await readFile(witness, 'utf8').catch(() => '');
    }
    expect(text).toBe('yes');
  });
});
