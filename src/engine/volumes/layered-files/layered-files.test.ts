import { execFile, execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type LayeredFilesUnderTest, makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import { armCrashPoint, disarmCrashPoints } from '../../../lib/crash-points.ts';
import { waitForEnd } from '../../../lib/processes.ts';
import { createConfinement } from '../../confinement/run-confined.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import { connectQmp } from '../../qemu/qmp.ts';
import { createSpaceAccount } from '../../space/space-account.ts';
import type { DiskExport, Layer, VolumeBackend } from '../contract.ts';
import {
  applyTo,
  diskBytes,
  expectBytes,
  mib,
  newLayer,
  readDisk,
  type Write,
  write,
  writeOffline,
  writeThrough,
} from '../contract-suite/test-disks.ts';
import { blockNode } from './block-nodes.ts';

const run = promisify(execFile);

describe('layered-files', () => {
  let under: LayeredFilesUnderTest;
  let backend: VolumeBackend;
  let home: string;
  beforeAll(async () => {
    under = await makeLayeredFiles();
    backend = under.backend;
  });
  afterEach(() => disarmCrashPoints());
  afterAll(() => under.dispose());

  const fileOf = (layer: Layer): string => join(under.dir, 'layers', layer.home, `${layer.id}.${layer.format}`);
  const isWhole = (layer: Layer): boolean => {
    const report = execFileSync('qemu-img', ['check', '--output=json', fileOf(layer)], { encoding: 'utf8' });
    return (JSON.parse(report) as { leaks?: number }).leaks === undefined;
  };
  const stack = async (...plans: readonly (readonly Write[])[]): Promise<{ chain: Layer[]; model: Buffer }> => {
    home = randomUUID();
    const chain: Layer[] = [];
    const model = Buffer.alloc(diskBytes);
    for (const writes of plans) {
      chain.push(newLayer(home));
      await backend.createLayer(chain.at(-1) as Layer, chain.slice(0, -1));
      await writeOffline(backend, chain, writes);
      applyTo(model, writes);
    }
    return { chain, model };
  };
  const serving = async (work: (target: DiskExport) => Promise<void>, chain: readonly Layer[]): Promise<void> => {
    const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
    try {
      await work(target);
    } finally {
      await backend.closeExport(target);
    }
  };

  it('makes files that qemu-img can walk, private to the service, with nothing left over', async () => {
    const { chain } = await stack([write(0, mib, 1)], []);
    const info = execFileSync('qemu-img', ['info', '--backing-chain', '--output=json', fileOf(chain[1] as Layer)], { encoding: 'utf8' });
    expect(JSON.parse(info)).toHaveLength(2);
    expect(statSync(fileOf(chain[0] as Layer)).mode & 0o777).toBe(0o600);
    expect(statSync(join(under.dir, 'layers', home)).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(under.dir, 'layers', home)).sort()).toEqual(chain.map((layer) => `${layer.id}.qcow2`).sort());
    for (const layer of chain) await backend.removeLayer(layer);
    expect(existsSync(join(under.dir, 'layers', home))).toBe(false);
  });

  it.each(['../x', 'a/b', '', '.hidden', 'x'.repeat(65)])('refuses %j as an id', async (id) => {
    await expect(backend.createLayer({ ...newLayer('home'), id }, [])).rejects.toMatchObject({ kind: 'mismatch' });
    await expect(backend.createLayer({ ...newLayer('home'), home: id }, [])).rejects.toMatchObject({ kind: 'mismatch' });
  });

  it('removes with a layer what a process died while noting about it', async () => {
    const { chain } = await stack([write(0, mib, 1)]);
    const [top] = chain as [Layer];
    for (const suffix of ['.open.new', '.extents.new']) writeFileSync(`${fileOf(top)}${suffix}`, 'half a no');
    await backend.removeLayer(top);
    expect(existsSync(join(under.dir, 'layers', home))).toBe(false);
  });

  it('refuses new layers at the watermark', async () => {
    const full = await makeLayeredFiles({ space: createSpaceAccount({ keptBytes: Number.MAX_SAFE_INTEGER }) });
    await expect(full.backend.createLayer(newLayer('home'), [])).rejects.toMatchObject({ name: 'SpaceError', kind: 'no-space' });
    expect(await full.backend.freeBytes()).toBe(0);
    await full.dispose();
  });

  it('refuses a runtime folder in which sockets would have names that are too long', () => {
    expect(() => under.another({ runtimeDir: `/${'x'.repeat(80)}` })).toThrow(/too long/);
  });

  describe('a merge that is interrupted', () => {
    const plans = [
      [write(0, 4 * mib, 1)],
      [write(2 * mib, 4 * mib, 2), { kind: 'zero', at: 0, length: mib } as const],
      [write(3 * mib, 4096, 3)],
    ];

    it.each(['merge:commit:before', 'merge:commit:after', 'merge:rebase:after'])(
      'at %s is readable, and can be repeated',
      async (point) => {
        const { chain, model } = await stack(...plans);
        const [older, younger, child] = chain as [Layer, Layer, Layer];
        armCrashPoint(point, 'fail');
        await expect(backend.merge(older, younger, child, { signal: new AbortController().signal })).rejects.toThrow(point);
        await expectBytes(backend, chain, model);
        await under.another().merge(older, younger, child, { signal: new AbortController().signal });
        await backend.removeLayer(younger);
        await expectBytes(backend, [older, child], model);
        expect(isWhole(older)).toBe(true);
      },
    );

    it('in the middle of the data is readable, and can be repeated', async () => {
      home = randomUUID();
      const sizeBytes = 192 * mib;
      const [older, younger, child] = [newLayer(home, sizeBytes), newLayer(home, sizeBytes), newLayer(home, sizeBytes)];
      await backend.createLayer(older, []);
      await writeOffline(backend, [older], [write(0, mib, 1)]);
      await backend.createLayer(younger, [older]);
      await writeOffline(
        backend,
        [older, younger],
        Array.from({ length: 90 }, (_, i) => write(2 * i * mib, mib, (i % 255) + 1)),
      );
      await backend.createLayer(child, [older, younger]);
      const before = (await readDisk(backend, [older, younger, child])).bytes;
      const aborter = new AbortController();
      let doneBytes = 0;
      const merging = backend.merge(older, younger, child, { signal: aborter.signal, onProgress: (done) => (doneBytes = done) });
      const olderBytes = await backend.allocatedBytes(older);
      while ((await backend.allocatedBytes(older)) < olderBytes + 8 * mib) await sleep(1);
      aborter.abort(new Error('somebody wants a snapshot'));
      await expect(merging).rejects.toThrow('somebody wants a snapshot');
      expect(doneBytes).toBeLessThan(90 * mib);
      expect((await readDisk(backend, [older, younger, child])).bytes.equals(before)).toBe(true);
      await backend.merge(older, younger, child, { signal: new AbortController().signal });
      await backend.removeLayer(younger);
      expect((await readDisk(backend, [older, child])).bytes.equals(before)).toBe(true);
      expect(isWhole(older)).toBe(true);
    });

    it('because the file system is full leaves all data readable', async () => {
      // A quota for the file stands for a full disk: qemu-img gets an error from the kernel in the middle of its writes.
      const real = createConfinement();
      const tight = await makeLayeredFiles({
        confinement: {
          ...real,
          run: (command) => real.run(command.args[0] === 'commit' ? { ...command, limits: { fileSizeBytes: 3 * mib } } : command),
        },
      });
      home = randomUUID();
      const layers = [newLayer(home), newLayer(home), newLayer(home)] as const;
      const [older, younger, child] = layers;
      const model = Buffer.alloc(diskBytes);
      for (const [i, writes] of plans.entries()) {
        const chain = layers.slice(0, i + 1);
        await tight.backend.createLayer(chain.at(-1) as Layer, chain.slice(0, -1));
        await writeOffline(tight.backend, chain, writes);
        applyTo(model, writes);
      }
      await expect(tight.backend.merge(older, younger, child, { signal: new AbortController().signal })).rejects.toThrow();
      await expectBytes(tight.backend, layers, model);
      await tight.dispose();
    });
  });

  describe('a server', () => {
    it('that was killed keeps what was flushed, and its layer is repaired before it is used again', async () => {
      const { chain, model } = await stack([]);
      const [layer] = chain as [Layer];
      const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
      const writes = Array.from({ length: 40 }, (_, i) => write(i * 131_072, 4096, i + 1));
      await writeThrough(target, writes);
      applyTo(model, writes);
      process.kill(target.processId, 'SIGKILL');
      await waitForEnd(target.processId, target.id, 5000);
      expect(await backend.inspectExport(target)).toEqual({ alive: false, layerIds: [] });
      await backend.closeExport(target);
      expect(existsSync(`${fileOf(layer)}.open`)).toBe(true);
      const overlay = newLayer(home);
      await backend.createLayer(overlay, chain);
      expect(existsSync(`${fileOf(layer)}.open`)).toBe(false);
      expect(isWhole(layer)).toBe(true);
      await expectBytes(backend, chain, model);
      await serving((again) => writeThrough(again, [write(0, 4096, 9)]), [...chain, overlay]);
    });

    it('outlives the process that started it', async () => {
      const { chain, model } = await stack([]);
      const here = import.meta.url;
      const script = `
        const { createLayeredFiles } = await import(new URL('./create-layered-files.ts', ${JSON.stringify(here)}));
        const { createConfinement } = await import(new URL('../../confinement/run-confined.ts', ${JSON.stringify(here)}));
        const { createSpaceAccount } = await import(new URL('../../space/space-account.ts', ${JSON.stringify(here)}));
        const { silentLog } = await import(new URL('../../../lib/log.ts', ${JSON.stringify(here)}));
        const [dir, id, chain] = JSON.parse(process.argv[1]);
        const backend = createLayeredFiles({ root: dir + '/layers', runtimeDir: dir + '/run', log: silentLog, space: createSpaceAccount({ keptBytes: 0 }), confinement: createConfinement() });
        console.log(JSON.stringify(await backend.openExport(id, chain, { readOnly: false })));
        process.kill(process.pid, 'SIGKILL');`;
      const id = randomUUID();
      const started = await run(process.execPath, ['--input-type=module', '-e', script, JSON.stringify([under.dir, id, chain])]).catch(
        (error: { stdout: string }) => error,
      );
      const target = JSON.parse(started.stdout) as DiskExport;
      await sleep(100);
      expect(await backend.inspectExport(target)).toEqual({ alive: true, layerIds: chain.map((layer) => layer.id) });
      expect(await backend.openExport(id, chain, { readOnly: false })).toEqual(target);
      await writeThrough(target, [write(0, 4096, 5)]);
      applyTo(model, [write(0, 4096, 5)]);
      await backend.closeExport(target);
      await expectBytes(backend, chain, model);
    });

    it('whose start was interrupted is found and replaced by the next attempt', async () => {
      const { chain } = await stack([]);
      const id = randomUUID();
      armCrashPoint('export:launch:after', 'fail');
      await expect(backend.openExport(id, chain, { readOnly: false })).rejects.toThrow('export:launch:after');
      const target = await backend.openExport(id, chain, { readOnly: false });
      expect((await backend.inspectExport(target)).alive).toBe(true);
      await backend.closeExport(target);
    });

    it.each(['snapshot:transaction:before', 'snapshot:transaction:after'])(
      'whose snapshot was interrupted at %s takes it again',
      async (point) => {
        const { chain, model } = await stack([write(0, mib, 1)]);
        await serving(async (target) => {
          const overlay = newLayer(home);
          await backend.createLayer(overlay, chain);
          armCrashPoint(point, 'fail');
          await expect(backend.snapshotExport(target, chain, overlay)).rejects.toThrow(point);
          const successor = under.another();
          const served = await successor.inspectExport(target);
          // The step before is repeated as well, unless the snapshot happened.
          if (!served.layerIds.includes(overlay.id)) await successor.createLayer(overlay, chain);
          await successor.snapshotExport(target, chain, overlay);
          await writeThrough(target, [write(0, 4096, 2)]);
          await expectBytes(backend, chain, model);
          chain.push(overlay);
          applyTo(model, [write(0, 4096, 2)]);
        }, chain);
        await expectBytes(backend, chain, model);
      },
    );

    it('puts nothing on a layer that is open in its server, but not its top', async () => {
      const { chain } = await stack([write(0, mib, 1)]);
      await serving(async (target) => {
        const overlays = [newLayer(home), newLayer(home)] as const;
        await backend.createLayer(overlays[0], chain);
        const file = { path: fileOf(overlays[0]), format: 'qcow2' } as const;
        const monitor = await connectQmp(target.monitorPath);
        await monitor.execute('blockdev-add', blockNode(file, { access: 'writable', backing: null, isNamed: true }));
        monitor.close();
        await backend.createLayer(overlays[1], [...chain, overlays[0]]);
        const snapshot = backend.snapshotExport(target, [...chain, overlays[0]], overlays[1]);
        await expect(snapshot).rejects.toMatchObject({ kind: 'mismatch' });
        expect((await backend.inspectExport(target)).layerIds).toEqual(chain.map(({ id }) => id));
        await backend.snapshotExport(target, chain, overlays[0]);
        expect((await backend.inspectExport(target)).layerIds).toEqual([...chain, overlays[0]].map(({ id }) => id));
      }, chain);
    });

    it('that died between the creation of an overlay and the snapshot leaves a disk that can be frozen offline', async () => {
      const { chain, model } = await stack([write(0, mib, 1)]);
      const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
      const overlay = newLayer(home);
      await backend.createLayer(overlay, chain);
      process.kill(target.processId, 'SIGKILL');
      await waitForEnd(target.processId, target.id, 5000);
      await expect(backend.snapshotExport(target, chain, overlay)).rejects.toMatchObject({ kind: 'gone' });
      await backend.createLayer(overlay, chain);
      await serving((again) => writeThrough(again, [write(0, 4096, 2)]), [...chain, overlay]);
      await expectBytes(backend, chain, model);
    });

    it('sees its own home and its chain, and is in no network', async () => {
      const stranger = await stack([]);
      const { chain } = await stack([]);
      await serving(async (target) => {
        const inside = (path: string): boolean => existsSync(`/proc/${target.processId}/root${path}`);
        expect(inside(fileOf(chain[0] as Layer))).toBe(true);
        expect(inside(fileOf(stranger.chain[0] as Layer))).toBe(false);
        expect(inside('/etc/passwd')).toBe(false);
        expect(readFileSync(`/proc/${target.processId}/net/dev`, 'utf8').trim().split('\n')).toHaveLength(3);
        expect(statSync(join(under.dir, 'run')).mode & 0o077).toBe(0);
        expect(Buffer.byteLength(target.socketPath)).toBeLessThanOrEqual(107);
      }, chain);
    });

    it('answers another NBD client of the same disk', async () => {
      const { chain } = await stack([write(0, mib, 1)]);
      const copy = join(under.dir, 'copy.raw');
      await serving(async (target) => {
        await run('nbdcopy', [`nbd+unix:///disk?socket=${target.socketPath}`, copy]);
      }, chain);
      expect(readFileSync(copy).equals((await readDisk(backend, chain)).bytes)).toBe(true);
    });
  });

  it('uses an uploaded qcow2 file as a base, compressed clusters included', async () => {
    home = randomUUID();
    const base = newLayer(home);
    const { path } = await backend.prepareLayer(base, []);
    const source = join(under.dir, 'source.raw');
    writeFileSync(source, Buffer.concat([Buffer.alloc(mib, 'some text '), Buffer.alloc(diskBytes - mib)]));
    execFileSync('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', source, path]);
    await backend.sealLayer(base, [], ExtentSet.of([[0, mib]]));
    const [younger, child] = [newLayer(home), newLayer(home)];
    await backend.createLayer(younger, [base]);
    const model = readFileSync(source);
    await writeOffline(backend, [base, younger], [write(512, 512, 1)]);
    applyTo(model, [write(512, 512, 1)]);
    await backend.createLayer(child, [base, younger]);
    await expectBytes(backend, [base, younger, child], model);
    await backend.merge(base, younger, child, { signal: new AbortController().signal });
    await backend.removeLayer(younger);
    await expectBytes(backend, [base, child], model);
  });
});
