import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeSmallDisk, mayMount } from '../../../../test/support/small-disk.ts';
import { silentLog } from '../../../lib/log.ts';
import { waitForEnd } from '../../../lib/processes.ts';
import { createConfinement } from '../../confinement/run-confined.ts';
import { createSpaceAccount } from '../../space/space-account.ts';
import type { Layer } from '../contract.ts';
import { newLayer, writeOffline } from '../contract-suite/test-disks.ts';
import type { StoredLayer, StrayObject } from '../inventory-contract.ts';
import { describeLayerInventory, type InventoryUnderTest } from '../inventory-contract-suite.ts';
import { createLayeredFiles, type LayeredFiles } from './create-layered-files.ts';

const mib = 2 ** 20;
const diskBytes = 8 * mib;
const note = { reason: 'a test', at: new Date('2026-11-21T03:00:00.000Z') };
const signal = new AbortController().signal;

const open = (dir: string): LayeredFiles =>
  createLayeredFiles({
    root: join(dir, 'layers'),
    runtimeDir: join(dir, 'run'),
    log: silentLog,
    space: createSpaceAccount({ keptBytes: 0 }),
    confinement: createConfinement(),
  });

async function make(): Promise<InventoryUnderTest> {
  const dir = mkdtempSync(join(tmpdir(), 'li-'));
  const backend = open(dir);
  const crashPoints = {
    trash: ['trash:noted', 'trash:notes-moved', 'trash:moved'],
    restore: ['trash:notes-restored', 'trash:restored'],
    delete: ['trash:emptied'],
  };
  return { backend, inventory: backend.inventory, crashPoints, dispose: async () => rmSync(dir, { recursive: true, force: true }) };
}

describeLayerInventory('layered-files', make);

describe('the inventory of layered files', () => {
  let dir: string;
  let backend: LayeredFiles;
  let layer: Layer;
  let child: Layer;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'li-'));
    backend = open(dir);
    const home = randomUUID();
    [layer, child] = [newLayer(home, diskBytes), newLayer(home, diskBytes)];
    await backend.createLayer(layer, []);
    await backend.createLayer(child, [layer]);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const pathOf = (of: Layer): string => backend.inventory.placeOf(of);
  const homePath = (): string => join(dir, 'layers', layer.home);
  const listed = async (): Promise<(StoredLayer | StrayObject)[]> => {
    const found: (StoredLayer | StrayObject)[] = [];
    for await (const item of backend.inventory.listStored()) found.push(item);
    return found;
  };
  const strays = async () =>
    (await listed()).flatMap((item) => ('kind' in item ? [{ name: item.name, kind: item.kind, layer: item.layer?.id }] : []));

  it('tells what is no layer, and what it would be about', async () => {
    const gone = randomUUID();
    writeFileSync(`${pathOf(layer)}.new`, 'unfinished');
    writeFileSync(`${pathOf(layer)}.open.new`, 'unfinished');
    writeFileSync(join(homePath(), `${gone}.raw.extents`), 'about nothing');
    writeFileSync(join(homePath(), `copy of ${layer.id}.qcow2`), 'by hand');
    mkdirSync(join(homePath(), 'folder'));
    writeFileSync(join(dir, 'layers', 'README'), 'by hand');
    mkdirSync(join(dir, 'layers', 'lost+found'));
    const found = await strays();
    expect(found.sort((a, b) => a.name.localeCompare(b.name))).toEqual(
      [
        { name: `${layer.home}/${layer.id}.qcow2.new`, kind: 'unfinished', layer: layer.id },
        { name: `${layer.home}/${layer.id}.qcow2.open.new`, kind: 'unfinished', layer: layer.id },
        { name: `${layer.home}/${gone}.raw.extents`, kind: 'note', layer: gone },
        { name: `${layer.home}/copy of ${layer.id}.qcow2`, kind: 'foreign', layer: undefined },
        { name: `${layer.home}/folder`, kind: 'foreign', layer: undefined },
        { name: 'README', kind: 'foreign', layer: undefined },
      ].sort((a, b) => a.name.localeCompare(b.name)),
    );
  });

  it('moves what was never finished, and nothing that is not its own', async () => {
    writeFileSync(`${pathOf(layer)}.new`, 'unfinished');
    writeFileSync(join(homePath(), 'mine.txt'), 'by hand');
    const name = `${layer.home}/${layer.id}.qcow2.new`;
    expect(await backend.inventory.trashStray(name, note)).toBe(true);
    expect(await backend.inventory.trashStray(name, note)).toBe(false);
    for (const bad of [`${layer.home}/mine.txt`, `${layer.home}/${layer.id}.qcow2`, `../layers/${name}`, '/etc/passwd.new']) {
      await expect(backend.inventory.trashStray(bad, note)).rejects.toMatchObject({ kind: 'mismatch' });
    }
    const [item] = await backend.inventory.listTrash();
    expect(item).toMatchObject({ layer: undefined, reason: 'a test' });
    await backend.inventory.restoreFromTrash(item?.name ?? '', { keep: true });
    expect(existsSync(`${pathOf(layer)}.new`)).toBe(true);
  });

  it('takes along what is noted about a layer, and brings it back', async () => {
    const base = newLayer(layer.home, diskBytes, 'raw');
    await backend.createLayer(base, []);
    writeFileSync(`${pathOf(base)}.extents`, 'ranges');
    await backend.inventory.trashLayer(base, note);
    expect(await strays()).toEqual([]);
    await backend.inventory.restoreFromTrash((await backend.inventory.listTrash())[0]?.name ?? '', { keep: false });
    expect(existsSync(`${pathOf(base)}.extents`)).toBe(true);
  });

  it.runIf(mayMount)('loses nothing on a file system that is full to its last byte, and can make room there', async () => {
    const disk = await makeSmallDisk(16);
    try {
      const small = open(disk.path);
      const home = randomUUID();
      const [unknown, old] = [newLayer(home, diskBytes), newLayer(home, diskBytes)];
      for (const one of [unknown, old]) await small.createLayer(one, []);
      await writeOffline(small, [old], [{ kind: 'write', at: 0, length: mib, pattern: 1 }]);
      await small.inventory.trashLayer(old, note);
      disk.fill();
      await expect(small.inventory.trashLayer(unknown, note)).rejects.toMatchObject({ code: 'ENOSPC' });
      expect((await small.inventory.findStored(unknown))?.damage).toBeUndefined();
      const [item] = (await small.inventory.listTrash()).filter(({ layer: of }) => of?.id === old.id);
      await small.inventory.restoreFromTrash(item?.name ?? '', { keep: false });
      expect((await small.inventory.findStored(old))?.damage).toBeUndefined();
      await small.removeLayer(old);
      // What an attempt left that had no space for its note goes with the next one.
      expect(await small.inventory.trashLayer(unknown, note)).toBe(true);
      for (const { name } of await small.inventory.listTrash()) await small.inventory.deleteFromTrash(name);
      expect(await small.inventory.listTrash()).toEqual([]);
      expect(await disk.freeBytes()).toBeGreaterThan(mib / 2);
    } finally {
      await disk.unmount();
    }
  });

  it('says in words what is wrong with a header', async () => {
    const damageOf = async (of: Layer) => (await backend.inventory.findStored(of))?.damage;
    writeFileSync(pathOf(layer), 'no longer a disk');
    expect(await damageOf(layer)).toBe('the file does not begin with the qcow2 magic');
    truncateSync(pathOf(layer), 0);
    expect(await damageOf(layer)).toBe('the file does not begin with the qcow2 magic');
    execFileSync('qemu-img', ['rebase', '-u', '-F', 'raw', '-b', '/etc/passwd', pathOf(child)]);
    expect(await damageOf(child)).toContain('stands on "/etc/passwd", which is no layer');
    renameSync(pathOf(child), join(dir, 'elsewhere'));
    symlinkSync(join(dir, 'elsewhere'), pathOf(child));
    expect(await damageOf(child)).toContain('symbolic link');
  });

  it('reads the name of the layer below also where QEMU has written it', async () => {
    execFileSync('qemu-img', ['rebase', '-u', '-F', 'qcow2', '-b', `../${layer.home}/${layer.id}.qcow2`, pathOf(child)]);
    expect((await backend.inventory.findStored(child))?.content?.below).toMatchObject({ id: layer.id, home: layer.home });
  });

  it('counts a file with two names as one that frees nothing', async () => {
    const base = newLayer(layer.home, diskBytes, 'raw');
    writeFileSync(join(dir, 'upload'), Buffer.alloc(mib, 1));
    linkSync(join(dir, 'upload'), pathOf(base));
    expect(await backend.inventory.findStored(base)).toMatchObject({ isShared: true });
    await backend.inventory.trashLayer(base, note);
    expect((await backend.inventory.listTrash())[0]).toMatchObject({ allocatedBytes: 0 });
    await backend.inventory.deleteFromTrash((await backend.inventory.listTrash())[0]?.name ?? '');
    expect(statSync(join(dir, 'upload')).size).toBe(mib);
  });

  it('knows the layers that a dead program left open, and makes them whole', async () => {
    const target = await backend.openExport(randomUUID(), [layer, child], { readOnly: false });
    // Written, and not flushed: the clusters are counted as used before the tables know them.
    execFileSync('qemu-io', ['-f', 'raw', '-c', 'write -P 1 0 4M', `nbd+unix:///disk?socket=${target.socketPath}`]);
    process.kill(target.processId, 'SIGKILL');
    await waitForEnd(target.processId, target.id, 5_000);
    expect((await backend.inventory.findStored(child))?.openMark).toBe('left');
    expect(await backend.inventory.listExports()).toEqual([
      {
        name: backend.inventory.exportNameOf(target.id),
        home: undefined,
        isAlive: false,
        description: expect.stringContaining('has ended'),
      },
    ]);
    await backend.inventory.repairLayer(child);
    expect((await backend.inventory.findStored(child))?.openMark).toBe('none');
    expect(await backend.inventory.checkLayer(child, { signal })).toEqual({ damage: undefined, leakedBytes: 0 });
    await backend.inventory.endFoundExport(backend.inventory.exportNameOf(target.id));
    expect(await backend.inventory.listExports()).toEqual([]);
  });

  it('sees damage inside of a layer, and what it takes without using it', async () => {
    await writeOffline(backend, [layer], [{ kind: 'write', at: 0, length: 4 * mib, pattern: 1 }]);
    const copy = newLayer(layer.home, diskBytes);
    copyFileSync(pathOf(layer), pathOf(copy));
    // A cluster that is counted and not used is a leak, one that is used and not counted is damage. The counts lie in the third cluster.
    const clusters = statSync(pathOf(layer)).size / 65_536;
    truncateSync(pathOf(layer), (clusters + 1) * 65_536);
    writeAt(pathOf(layer), 2 * 65_536 + clusters * 2, Buffer.from([0, 1]));
    writeAt(pathOf(copy), 2 * 65_536 + 5 * 2, Buffer.from([0, 0]));
    expect(await backend.inventory.checkLayer(layer, { signal })).toEqual({ damage: undefined, leakedBytes: 65_536 });
    expect((await backend.inventory.checkLayer(copy, { signal })).damage).toContain('damaged clusters');
    await backend.inventory.repairLayer(layer);
    expect(await backend.inventory.checkLayer(layer, { signal })).toEqual({ damage: undefined, leakedBytes: 0 });
  });

  it("leaves a stranger's storage daemon alone", async () => {
    const socket = join(dir, 'run', 'mine');
    mkdirSync(join(dir, 'run'), { recursive: true });
    const args = ['--blockdev', 'driver=null-co,node-name=n,size=1048576', '--nbd-server', `addr.type=unix,addr.path=${socket}`];
    const stranger = spawn('qemu-storage-daemon', [...args, '--export', 'nbd,id=export-mine,node-name=n'], { stdio: 'ignore' });
    try {
      await expect.poll(() => existsSync(socket), { timeout: 10_000 }).toBe(true);
      expect(await backend.inventory.listExports()).toEqual([]);
    } finally {
      stranger.kill('SIGKILL');
    }
  });

  it('looks at ten thousand layers in less than a second', async () => {
    const template = pathOf(layer);
    for (let home = 0; home < 100; home += 1) {
      const folder = join(dir, 'layers', randomUUID());
      mkdirSync(folder);
      for (let index = 0; index < 100; index += 1) linkSync(template, join(folder, `${randomUUID()}.qcow2`));
    }
    let cpuMs = Number.POSITIVE_INFINITY;
    // By the time of the processor, which other work on the machine does not lengthen; the first look also warms the caches.
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const before = process.cpuUsage();
      expect(await listed()).toHaveLength(10_002);
      const { user, system } = process.cpuUsage(before);
      cpuMs = Math.min(cpuMs, (user + system) / 1000);
    }
    console.info(`10,000 layers listed in ${Math.round(cpuMs)} ms of CPU`);
    expect(cpuMs).toBeLessThan(1_000);
  });
});

function writeAt(path: string, atBytes: number, bytes: Buffer): void {
  execFileSync('dd', [`of=${path}`, 'bs=1', `seek=${atBytes}`, 'conv=notrunc', 'status=none'], { input: bytes });
}
