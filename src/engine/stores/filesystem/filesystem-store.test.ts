import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it } from 'vitest';
import { armCrashPoint, disarmCrashPoints } from '../../../lib/crash-points.ts';
import { describeObjectStore } from '../contract-suite.ts';
import { openFilesystemStore, prepareFilesystemStore } from './filesystem-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'stillpoint-store-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
const newRoot = (): string => {
  count += 1;
  const root = join(folder, `store-${count}`);
  prepareFilesystemStore(root, Date.now());
  return root;
};

describeObjectStore('a folder as a store', async () => openFilesystemStore(newRoot()));

describe('the threads of one process', () => {
  it('make the same new folders at the same time', async () => {
    const root = newRoot();
    const program = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(${JSON.stringify(new URL('./filesystem-store.ts', import.meta.url).href)}).then(async ({ openFilesystemStore }) => {
        const store = openFilesystemStore(${JSON.stringify(root)});
        for (let i = 0; i < 100; i += 1) await store.put('p/' + i + '/' + workerData, Buffer.from('x'));
        parentPort.postMessage('done');
      });`;
    const threads = [1, 2, 3].map((workerData) => new Worker(program, { eval: true, workerData }));
    await Promise.all(threads.map((thread) => once(thread, 'message')));
    expect(readdirSync(join(root, 'p'))).toHaveLength(100);
    await Promise.all(threads.map((thread) => thread.terminate()));
  });
});

describe('the leftovers of a folder store', () => {
  it('are none after puts that ended', async () => {
    const root = newRoot();
    await openFilesystemStore(root).put('c/ab/one', Buffer.from('x'));
    expect(readdirSync(join(root, 'tmp'))).toEqual([]);
  });

  it.each(['store.before-flush', 'store.before-link'])('are none after a put that failed at %s', async (point) => {
    const root = newRoot();
    armCrashPoint(point, 'fail');
    await expect(openFilesystemStore(root).put('c/ab/one', Buffer.from('x'))).rejects.toMatchObject({ kind: 'transport' });
    disarmCrashPoints();
    expect(readdirSync(join(root, 'tmp'))).toEqual([]);
    expect(existsSync(join(root, 'c/ab/one'))).toBe(false);
  });

  it('are removed when their writer was killed, and kept while it lives', async () => {
    const root = newRoot();
    const program = `
      const { openFilesystemStore } = await import(${JSON.stringify(new URL('./filesystem-store.ts', import.meta.url).href)});
      const writer = await openFilesystemStore(${JSON.stringify(root)}).create('p/ab/pack');
      await writer.append([Buffer.from('half')]);
      console.log('written');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    prepareFilesystemStore(root, Date.now());
    expect(readdirSync(join(root, 'tmp'))).toHaveLength(1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    prepareFilesystemStore(root, Date.now());
    expect(readdirSync(join(root, 'tmp'))).toEqual([]);
  });

  it('of another machine are removed only after a day without a touch', () => {
    const root = newRoot();
    const foreign = join(root, 'tmp', `${'0'.repeat(16)}-1-1-${'0'.repeat(16)}`);
    writeFileSync(foreign, 'x');
    prepareFilesystemStore(root, Date.now());
    expect(existsSync(foreign)).toBe(true);
    utimesSync(foreign, new Date(0), new Date(0));
    prepareFilesystemStore(root, Date.now());
    expect(existsSync(foreign)).toBe(false);
  });
});

describe('a folder store without room', () => {
  it('says full, leaves nothing, and works again afterwards', async () => {
    const root = newRoot();
    // A limit of the file size stands in for a full disk: it needs no mount and no rights.
    const program = `
      const { openFilesystemStore } = await import(${JSON.stringify(new URL('./filesystem-store.ts', import.meta.url).href)});
      process.on('SIGXFSZ', () => {});
      const store = openFilesystemStore(${JSON.stringify(root)});
      const error = await store.put('c/ab/big', Buffer.alloc(256 * 1024)).catch((caught) => caught);
      console.log(error.name, error.kind, await store.put('c/ab/small', Buffer.from('fits')));`;
    const shell = `ulimit -f 64; exec ${JSON.stringify(process.execPath)} --input-type=module -e ${JSON.stringify(program).replaceAll('$', '\\$')}`;
    const output = execFileSync('bash', ['-c', shell.replaceAll('\\n', '\n')], { encoding: 'utf8' });
    expect(output.trim()).toBe('StoreFullError full created');
    expect(existsSync(join(root, 'c/ab/big'))).toBe(false);
    expect(readdirSync(join(root, 'tmp'))).toEqual([]);
  });
});
