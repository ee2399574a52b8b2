import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type LayeredFilesUnderTest, makeLayeredFiles } from '../../../../test/support/layered-files.ts';
import { armCrashPoint, disarmCrashPoints } from '../../../lib/crash-points.ts';
import { waitForEnd } from '../../../lib/processes.ts';
import type { DiskExport, Layer } from '../contract.ts';
import { applyTo, diskBytes, expectBytes, mib, newLayer, notAborted, write, writeThrough, zero } from '../contract-suite/test-disks.ts';

/** So slow that nothing which must be quick waits for its end. */
const slowly = { liveMergeBytesPerSecond: mib / 4 };

describe('a merge in a storage daemon', () => {
  let under: LayeredFilesUnderTest;
  beforeAll(async () => {
    under = await makeLayeredFiles();
  });
  afterEach(() => disarmCrashPoints());
  afterAll(() => under.dispose());

  const fileOf = (layer: Layer): string => join(under.dir, 'layers', layer.home, `${layer.id}.${layer.format}`);
  const hasMark = (layer: Layer): boolean => existsSync(`${fileOf(layer)}.open`);
  const checked = (layer: Layer): { leaks?: number; corruptions?: number } =>
    JSON.parse(execFileSync('qemu-img', ['check', '--output=json', fileOf(layer)], { encoding: 'utf8' }));
  const expectWhole = (layers: readonly Layer[]): void => {
    for (const layer of layers) expect(checked(layer)).not.toMatchObject({ leaks: expect.any(Number) });
  };
  const openFilesOf = (target: DiskExport): string[] =>
    readdirSync(`/proc/${target.processId}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${target.processId}/fd/${fd}`);
      } catch {
        return '';
      }
    });

  /** Four layers, all but the top frozen live, and what they hold together. */
  async function served(): Promise<{ chain: Layer[]; model: Buffer; target: DiskExport; older: Layer; younger: Layer; child: Layer }> {
    const { backend } = under;
    const home = randomUUID();
    const chain = [newLayer(home)];
    const model = Buffer.alloc(diskBytes);
    await backend.createLayer(chain[0] as Layer, []);
    const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
    const plans = [
      [write(0, 2 * mib, 1)],
      [write(mib, 3 * mib, 2), zero(0, 524_288)],
      [write(5 * mib, mib, 3)],
      [write(3 * mib, 65_536, 4)],
    ];
    for (const [i, writes] of plans.entries()) {
      if (i > 0) {
        const overlay = newLayer(home);
        await backend.createLayer(overlay, chain);
        await backend.snapshotExport(target, chain, overlay);
        chain.push(overlay);
      }
      await writeThrough(target, writes);
      applyTo(model, writes);
    }
    const [older, younger, child] = chain as [Layer, Layer, Layer, Layer];
    return { chain, model, target, older, younger, child };
  }

  it.each(['prepared', 'started', 'copied', 'merged', 'durable'])(
    'that another process has to complete, because the first one ended when it was %s',
    async (instant) => {
      const { chain, model, target, older, younger, child } = await served();
      armCrashPoint(`live-merge:${instant}`, 'fail');
      await expect(under.backend.mergeExport(target, chain, older, younger, notAborted())).rejects.toThrow(instant);
      await writeThrough(target, [write(7 * mib, 4096, 7)]);
      applyTo(model, [write(7 * mib, 4096, 7)]);
      const successor = under.another();
      await successor.mergeExport(target, chain, older, younger, notAborted());
      expect(hasMark(older)).toBe(false);
      expect(openFilesOf(target)).not.toContain(fileOf(younger));
      await successor.removeLayer(younger);
      await successor.closeExport(target);
      const merged = chain.filter((layer) => layer !== younger);
      await expectBytes(successor, merged, model);
      expectWhole(merged);
      const info = execFileSync('qemu-img', ['info', '--output=json', fileOf(child)], { encoding: 'utf8' });
      expect(JSON.parse(info)).toMatchObject({ 'backing-filename': `../${older.home}/${older.id}.qcow2` });
    },
  );

  it('is given up by the next snapshot, when the process that watched it ended', async () => {
    const { chain, model, target, older, younger } = await served();
    armCrashPoint('live-merge:started', 'fail');
    await expect(under.another(slowly).mergeExport(target, chain, older, younger, notAborted())).rejects.toThrow('started');
    const overlay = newLayer(target.home);
    await under.backend.createLayer(overlay, chain);
    await under.backend.snapshotExport(target, chain, overlay);
    await under.backend.closeExport(target);
    await expectBytes(under.backend, [...chain, overlay], model);
    expectWhole(chain);
  });

  it('gives way to a merge of other layers, when the process that watched it ended', async () => {
    const { chain, model, target, older, younger, child } = await served();
    armCrashPoint('live-merge:started', 'fail');
    await expect(under.another(slowly).mergeExport(target, chain, older, younger, notAborted())).rejects.toThrow('started');
    await under.backend.mergeExport(target, chain, younger, child, notAborted());
    await under.backend.closeExport(target);
    await expectBytes(
      under.backend,
      chain.filter((layer) => layer !== child),
      model,
    );
    for (const layer of chain) expect(hasMark(layer)).toBe(false);
  });

  it('ends with its daemon, which leaves layers that are whole', async () => {
    const { chain, model, target, older, younger } = await served();
    armCrashPoint('live-merge:started', 'fail');
    await expect(under.another(slowly).mergeExport(target, chain, older, younger, notAborted())).rejects.toThrow('started');
    expect(hasMark(older)).toBe(true);
    await under.backend.closeExport(target);
    for (const layer of chain) expect(hasMark(layer)).toBe(false);
    expectWhole(chain);
    await expectBytes(under.backend, chain, model);
  });

  it('that is killed with its daemon has harmed nothing, is repaired, and can be done with a server and without', async () => {
    const { chain, model, target, older, younger, child } = await served();
    const copying = Promise.withResolvers<void>();
    const merging = under.another(slowly).mergeExport(target, chain, older, younger, {
      ...notAborted(),
      onProgress: (done) => (done > 0 ? copying.resolve() : undefined),
    });
    await copying.promise;
    process.kill(target.processId, 'SIGKILL');
    await expect(merging).rejects.toMatchObject({ name: 'VolumeBackendError' });
    await waitForEnd(target.processId, target.id, 5000);
    await under.backend.closeExport(target);
    expect(hasMark(older)).toBe(true);
    await expectBytes(under.backend, chain, model);
    const again = await under.backend.openExport(randomUUID(), chain, { readOnly: false });
    expect(hasMark(older)).toBe(false);
    await under.backend.mergeExport(again, chain, younger, child, notAborted());
    await under.backend.closeExport(again);
    const left = chain.filter((layer) => layer !== child);
    await under.backend.merge(older, younger, left[2], notAborted());
    expectWhole([older, left[2] as Layer]);
    await expectBytes(under.backend, [older, left[2] as Layer], model);
  });

  it('is refused for a layer that has to be repaired first', async () => {
    const { chain, model, target, older, younger } = await served();
    execFileSync('sh', ['-c', 'printf \'{"owner":"somebody","processId":1}\' > "$0.open"', fileOf(older)]);
    await expect(under.backend.mergeExport(target, chain, older, younger, notAborted())).rejects.toMatchObject({ kind: 'busy' });
    await under.backend.closeExport(target);
    await expectBytes(under.backend, chain, model);
  });

  it('tells how far it is, and keeps to its pace', async () => {
    const { chain, target, older, younger } = await served();
    const reports: (readonly [number, number])[] = [];
    const startedAt = performance.now();
    await under.another({ liveMergeBytesPerSecond: 2 * mib }).mergeExport(target, chain, older, younger, {
      ...notAborted(),
      onProgress: (done, total) => reports.push([done, total]),
    });
    // 3 MiB, of which the daemon copies the first part of a second at once.
    expect(performance.now() - startedAt).toBeGreaterThan(800);
    expect(reports.length).toBeGreaterThan(1);
    for (const [i, [done, total]] of reports.entries()) {
      expect(total).toBe(diskBytes);
      expect(done).toBeGreaterThanOrEqual(reports[i - 1]?.[0] ?? 0);
    }
    expect(reports.at(-1)?.[0]).toBe(diskBytes);
    await under.backend.closeExport(target);
  });

  it('may write to the layers of its own home, and not to those that others may share', async () => {
    const { chain, target } = await served();
    await under.backend.closeExport(target);
    const top = newLayer(randomUUID());
    await under.backend.createLayer(top, chain);
    const clone = await under.backend.openExport(randomUUID(), [...chain, top], { readOnly: false });
    const mounts = readFileSync(`/proc/${clone.processId}/mountinfo`, 'utf8')
      .split('\n')
      .map((line) => line.split(' '));
    const flagsOf = (path: string): string | undefined => mounts.find((fields) => fields[4] === path)?.[5];
    for (const layer of chain) expect(flagsOf(fileOf(layer))).toMatch(/^ro,/);
    expect(flagsOf(join(under.dir, 'layers', top.home))).toMatch(/^rw,/);
    await under.backend.closeExport(clone);
  });
});
