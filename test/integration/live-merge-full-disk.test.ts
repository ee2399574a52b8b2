/** What happens to a merge below a client when the disk gets full: on a small file system of its own, which only root can make. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Layer } from '../../src/engine/volumes/contract.ts';
import {
  applyTo,
  diskBytes,
  expectBytes,
  mib,
  newLayer,
  notAborted,
  write,
  writeThrough,
} from '../../src/engine/volumes/contract-suite/test-disks.ts';
import { type LayeredFilesUnderTest, makeLayeredFiles } from '../support/layered-files.ts';
import { makeSmallDisk, mayMount, type SmallDisk } from '../support/small-disk.ts';

let disk: SmallDisk;
let under: LayeredFilesUnderTest;

describe.runIf(mayMount)('a full disk', () => {
  beforeEach(async () => {
    disk = await makeSmallDisk(64);
    under = await makeLayeredFiles({}, disk.path);
  });
  afterEach(() => disk.unmount());

  it('ends a merge below a client with its reason, harms nothing, and does not hinder it when there is room', async () => {
    const { backend } = under;
    const home = randomUUID();
    const [older, younger, top] = [newLayer(home), newLayer(home), newLayer(home)] as const;
    const chain: Layer[] = [older];
    const model = Buffer.alloc(diskBytes);
    await backend.createLayer(older, []);
    const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
    const put = async (at: number, length: number, pattern: number): Promise<void> => {
      await writeThrough(target, [write(at, length, pattern)]);
      applyTo(model, [write(at, length, pattern)]);
    };
    const freeze = async (overlay: Layer): Promise<void> => {
      await backend.createLayer(overlay, chain);
      await backend.snapshotExport(target, chain, overlay);
      chain.push(overlay);
    };
    await put(0, mib, 1);
    await freeze(younger);
    await put(0, 6 * mib, 2);
    const point = Buffer.from(model);
    await freeze(top);
    await put(7 * mib, 65_536, 3);

    // Room to begin, and not to end.
    const room = join(disk.path, 'room');
    await writeFile(room, Buffer.alloc(2 * mib, 1));
    disk.fill();
    await rm(room);
    const before = await backend.allocatedBytes(older);
    await expect(backend.mergeExport(target, chain, older, younger, notAborted())).rejects.toMatchObject({ kind: 'no-space' });
    expect(await backend.allocatedBytes(older)).toBeGreaterThan(before);
    expect((await backend.inspectExport(target)).layerIds).toEqual(chain.map((layer) => layer.id));
    await expectBytes(backend, [older, younger], point);
    await put(7 * mib, 4096, 4);

    await disk.empty();
    await backend.mergeExport(target, chain, older, younger, notAborted());
    await backend.removeLayer(younger);
    await backend.closeExport(target);
    await expectBytes(backend, [older], point);
    await expectBytes(backend, [older, top], model);
    const file = join(disk.path, 'layers', home, `${older.id}.qcow2`);
    expect(JSON.parse(execFileSync('qemu-img', ['check', '--output=json', file], { encoding: 'utf8' }))).not.toHaveProperty('leaks');
  });
});
