import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { makeMemoryVolumes } from '../../../../test/support/memory-volumes.ts';
import { connectNbd } from '../../../../test/support/nbd-client.ts';
import { ExtentSet } from '../../disk/extent-set.ts';
import { applyTo, diskBytes, expectBytes, mib, newLayer, notAborted, write, writeOffline } from '../contract-suite/test-disks.ts';

const noSpace = 28;

describe('volumes in memory', () => {
  it('tell a client that memory is full, keep what was acknowledged, and go on when there is space', async () => {
    const { backend, dispose } = await makeMemoryVolumes({ capacityBytes: 4 * mib });
    const home = randomUUID();
    const [other, layer] = [newLayer(home), newLayer(home)];
    for (const one of [other, layer]) await backend.createLayer(one, []);
    await writeOffline(backend, [other], [write(0, 2 * mib, 1)]);
    const target = await backend.openExport(randomUUID(), [layer], { readOnly: false });
    const client = await connectNbd(target.socketPath);
    const model = Buffer.alloc(diskBytes);
    const put = async (at: number): Promise<void> => {
      await client.write(at, Buffer.alloc(mib, 2));
      applyTo(model, [write(at, mib, 2)]);
    };
    await put(0);
    await expect(put(mib)).rejects.toMatchObject({ errno: noSpace });
    // A part of the refused write may be there, as on a file system.
    await client.zero(mib, mib);
    await client.flush();
    await backend.removeLayer(other);
    await put(mib);
    await put(4 * mib);
    await client.close();
    await backend.closeExport(target);
    await expectBytes(backend, [layer], model);
    await dispose();
  });

  it('are as they were when a merge meets full memory', async () => {
    const { backend, dispose } = await makeMemoryVolumes({ capacityBytes: 5 * mib });
    const home = randomUUID();
    const [older, younger, child] = [newLayer(home), newLayer(home), newLayer(home)];
    const model = Buffer.alloc(diskBytes);
    await backend.createLayer(older, []);
    await backend.createLayer(younger, [older]);
    await writeOffline(backend, [older, younger], [write(0, 3 * mib, 1)]);
    applyTo(model, [write(0, 3 * mib, 1)]);
    await backend.createLayer(child, [older, younger]);
    const full = { name: 'SpaceError' };
    await expect(backend.reserveMerge(older, younger)).rejects.toMatchObject(full);
    await expect(backend.merge(older, younger, child, notAborted())).rejects.toMatchObject(full);
    await expectBytes(backend, [older, younger, child], model);
    expect((await backend.changesOf([older, younger]))?.totalBytes).toBe(3 * mib);
    await dispose();
  });

  it('stop merging between two turns when they are asked to', async () => {
    const { backend, dispose } = await makeMemoryVolumes();
    const home = randomUUID();
    const [older, younger] = [newLayer(home), newLayer(home)];
    await backend.createLayer(older, []);
    await backend.createLayer(younger, [older]);
    await writeOffline(backend, [older, younger], [write(0, 6 * mib, 1)]);
    const aborter = new AbortController();
    const reason = new Error('enough');
    const onProgress = (done: number): void => {
      if (done >= 2 * mib) aborter.abort(reason);
    };
    await expect(backend.merge(older, younger, undefined, { signal: aborter.signal, onProgress })).rejects.toBe(reason);
    expect(await backend.allocatedBytes(older)).toBeLessThan(3 * mib);
    await expect(backend.merge(older, younger, undefined, { signal: aborter.signal })).rejects.toBe(reason);
    await dispose();
  });

  it('take nothing of a layer that somebody wrote when not all of it has room', async () => {
    const { backend, dispose } = await makeMemoryVolumes({ capacityBytes: 2 * mib });
    const base = newLayer(randomUUID(), diskBytes, 'raw');
    const { path } = await backend.prepareLayer(base, []);
    await writeFile(path, Buffer.alloc(3 * mib, 1));
    const free = await backend.freeBytes();
    await expect(backend.sealLayer(base, [], ExtentSet.of([[0, 3 * mib]]))).rejects.toMatchObject({ name: 'SpaceError' });
    expect(await backend.freeBytes()).toBe(free);
    expect(await backend.allocatedBytes(base)).toBe(0);
    await dispose();
  });

  it('leave no file and take no space when all layers are removed', async () => {
    const { backend, disks, dispose } = await makeMemoryVolumes();
    const free = await backend.freeBytes();
    const home = randomUUID();
    const base = newLayer(home, diskBytes, 'raw');
    await writeFile((await backend.prepareLayer(base, [])).path, Buffer.alloc(mib, 1));
    await backend.sealLayer(base, [], ExtentSet.of([[0, mib]]));
    const top = newLayer(home);
    await backend.createLayer(top, [base]);
    await writeOffline(backend, [base, top], [write(0, 4096, 2)]);
    for (const chain of [[base], [base, top]]) await backend.source(chain);
    await writeOffline(backend, [base, top], [write(4096, 4096, 3)]);
    await backend.source([base, top]);
    expect(readdirSync(disks.scratchDir).filter((name) => name.startsWith('s-'))).toHaveLength(4);
    for (const layer of [top, base]) await backend.removeLayer(layer);
    const left = readdirSync(disks.scratchDir, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory());
    expect(left).toEqual([]);
    expect(await backend.freeBytes()).toBe(free);
    await dispose();
  });

  it('notice callers who remove what others stand on, or make anew what is served', async () => {
    const { backend, dispose } = await makeMemoryVolumes();
    const home = randomUUID();
    const [below, top] = [newLayer(home), newLayer(home)];
    await backend.createLayer(below, []);
    await backend.createLayer(top, [below]);
    await expect(backend.removeLayer(below)).rejects.toMatchObject({ kind: 'mismatch' });
    const target = await backend.openExport(randomUUID(), [below, top], { readOnly: false });
    await expect(backend.createLayer(top, [below])).rejects.toMatchObject({ kind: 'busy' });
    await backend.closeExport(target);
    await dispose();
  });

  it.each(['../x', 'a/b', '', '.hidden', 'x'.repeat(65)])('refuse %j as a name', async (id) => {
    const { backend, dispose } = await makeMemoryVolumes();
    await expect(backend.createLayer({ ...newLayer('home'), id }, [])).rejects.toMatchObject({ kind: 'mismatch' });
    await expect(backend.createLayer({ ...newLayer('home'), home: id }, [])).rejects.toMatchObject({ kind: 'mismatch' });
    await dispose();
  });
});
