/** Serving disks: who may read and write, what a snapshot freezes, and what is left of servers and of those who started them. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { connectNbd, NbdError } from '../../../../test/support/nbd-client.ts';
import type { DiskExport, Layer } from '../contract.ts';
import {
  applyTo,
  discard,
  diskBytes,
  expectBytes,
  type MakeBackend,
  mib,
  newLayer,
  readDisk,
  uriOf,
  useTestDisks,
  write,
  writeOffline,
  writeThrough,
  zero,
} from './test-disks.ts';

const run = promisify(execFile);
const gone = { alive: false, layerIds: [] };

export function describeExports(makeBackend: MakeBackend): void {
  describe('exports', () => {
    const disks = useTestDisks(makeBackend);

    it('serve a disk whose writes are there after the close', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)], []);
      const target = await disks.serve(chain);
      await writeThrough(target, [write(4096, 512, 2), discard(524_288, 131_072)]);
      applyTo(model, [write(4096, 512, 2), zero(524_288, 131_072)]);
      await disks.backend.closeExport(target);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
      expect(await disks.backend.inspectExport(target)).toEqual(gone);
    });

    it('are disks to the clients of QEMU and of libnbd', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)], []);
      const target = await disks.serve(chain);
      const commands = [`write -P 2 4096 ${mib}`, 'write -z 8192 4096', 'discard 524288 131072', 'flush', 'read -P 2 4096 4096'];
      await run('qemu-io', ['-f', 'raw', '-d', 'unmap', ...commands.flatMap((text) => ['-c', text]), uriOf(target)]);
      applyTo(model, [write(4096, mib, 2), zero(8192, 4096), zero(524_288, 131_072)]);
      const { stdout } = await run('nbdinfo', ['--json', uriOf(target)]);
      expect(JSON.parse(stdout).exports).toMatchObject([{ 'export-name': 'disk', 'export-size': diskBytes, is_read_only: false }]);
      const dir = await mkdtemp(join(tmpdir(), 'nbd-'));
      await run('nbdcopy', [uriOf(target), join(dir, 'copy')]);
      expect((await readFile(join(dir, 'copy'))).equals(model)).toBe(true);
      await rm(dir, { recursive: true });
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, model);
    });

    it('are one server for one id, however often it is asked for', async () => {
      const { chain } = await disks.build([]);
      const target = await disks.serve(chain);
      expect(await disks.backend.openExport(target.id, chain, { readOnly: false })).toEqual(target);
      expect(await disks.under.another().openExport(target.id, chain, { readOnly: false })).toEqual(target);
    });

    it('are another server under the same id for another disk', async () => {
      const { chain, home } = await disks.build([write(0, mib, 1)]);
      const top = newLayer(home);
      await disks.backend.createLayer(top, chain);
      const former = await disks.serve(chain);
      const target = await disks.backend.openExport(former.id, [...chain, top], { readOnly: false });
      await expect(connectNbd(former.socketPath)).rejects.toThrow();
      expect(await disks.backend.inspectExport(target)).toEqual({ alive: true, layerIds: [...chain, top].map((layer) => layer.id) });
      await writeThrough(target, [write(0, 4096, 2)]);
      await disks.backend.closeExport(target);
      await expectBytes(disks.backend, chain, Buffer.concat([Buffer.alloc(mib, 1), Buffer.alloc(diskBytes - mib)]));
    });

    it('of what is not there do not come up', async () => {
      const { chain, home } = await disks.build([]);
      const open = (layers: readonly Layer[], readOnly: boolean) => disks.backend.openExport(randomUUID(), layers, { readOnly });
      await expect(open([], false)).rejects.toMatchObject({ kind: 'mismatch' });
      await expect(open([newLayer(home)], false)).rejects.toThrow();
      await expect(open([...chain, newLayer(home)], true)).rejects.toThrow();
      // And are in nobody's way.
      await disks.serve(chain);
    });

    it('that write are alone with their disk', async () => {
      const { chain } = await disks.build([]);
      const target = await disks.serve(chain);
      await expect(disks.backend.openExport(randomUUID(), chain, { readOnly: false })).rejects.toMatchObject({ kind: 'busy' });
      await expect(disks.under.another().openExport(randomUUID(), chain, { readOnly: true })).rejects.toMatchObject({ kind: 'busy' });
      await disks.backend.closeExport(target);
      await disks.serve(chain);
    });

    it('that only read may be many, beside one that writes above them', async () => {
      const { chain, model, home } = await disks.build([write(0, mib, 1)]);
      const top = newLayer(home);
      await disks.backend.createLayer(top, chain);
      const readers = [await disks.serve(chain, { readOnly: true }), await disks.serve(chain, { readOnly: true })];
      await writeThrough(await disks.serve([...chain, top]), [write(0, mib, 2)]);
      for (const reader of readers) {
        await expect(writeThrough(reader, [write(0, 4096, 3)])).rejects.toThrow();
        await run('qemu-io', ['-r', '-f', 'raw', '-c', `read -P 1 0 ${mib}`, uriOf(reader)]);
      }
      await expectBytes(disks.backend, chain, model);
    });

    it('show several clients the same disk', async () => {
      const { chain, model } = await disks.build([write(0, mib, 1)]);
      const { socketPath } = await disks.serve(chain);
      const clients = await Promise.all([connectNbd(socketPath), connectNbd(socketPath), connectNbd(socketPath)]);
      await Promise.all(
        clients.map(async (client, i) => {
          await Promise.all([0, 1, 2].map((j) => client.write((3 * j + i) * 65_536, Buffer.alloc(65_536, 10 * i + j + 1))));
          await client.zero(4 * mib + i * 65_536, 4096);
          await client.flush();
        }),
      );
      for (const [i] of clients.entries())
        applyTo(
          model,
          [0, 1, 2].map((j) => write((3 * j + i) * 65_536, 65_536, 10 * i + j + 1)),
        );
      for (const client of clients) expect((await client.read(0, diskBytes)).equals(model)).toBe(true);
      await Promise.all(clients.map((client) => client.close()));
    });

    it('have the size of the top, whatever is below', async () => {
      const { chain, home } = await disks.build([write(0, diskBytes, 1)]);
      const sizes: number[] = [];
      for (const sizeBytes of [4 * mib, 2 * diskBytes]) {
        const top = newLayer(home, sizeBytes);
        await disks.backend.createLayer(top, chain);
        const client = await connectNbd((await disks.serve([...chain, top])).socketPath);
        sizes.push(client.sizeBytes);
        const read = client.read(diskBytes, 4096);
        if (sizeBytes > diskBytes) expect((await read).equals(Buffer.alloc(4096))).toBe(true);
        else await expect(read).rejects.toThrow(NbdError);
        await client.close();
      }
      expect(sizes).toEqual([4 * mib, 2 * diskBytes]);
    });

    it('can be told apart from outside: their sockets have names that nobody guesses', async () => {
      const { chain } = await disks.build([]);
      const names = [];
      for (let i = 0; i < 2; i += 1) {
        const target = await disks.serve(chain);
        names.push(target.socketPath.split('/').at(-1));
        await disks.backend.closeExport(target);
      }
      expect(new Set(names).size).toBe(2);
      for (const name of names) expect(name).toMatch(/[0-9a-f]{32}/);
    });

    describe('with snapshots', () => {
      it('freeze what a client wrote before, and nothing that it wrote after', async () => {
        const { chain, model, home } = await disks.build([write(0, mib, 1)]);
        const target = await disks.serve(chain);
        await writeThrough(target, [write(mib, 65_536, 2), write(2 * mib, 4096, 3)]);
        applyTo(model, [write(mib, 65_536, 2), write(2 * mib, 4096, 3)]);
        const overlay = newLayer(home);
        await disks.backend.createLayer(overlay, chain);
        await disks.backend.snapshotExport(target, chain, overlay);
        await expectBytes(disks.backend, chain, model);
        await writeThrough(target, [write(0, 4096, 7), discard(mib, 65_536)]);
        await disks.backend.snapshotExport(target, chain, overlay);
        await expectBytes(disks.backend, chain, model);
        const layerIds = [...chain, overlay].map((layer) => layer.id);
        expect(await disks.backend.inspectExport(target)).toEqual({ alive: true, layerIds });
        await disks.backend.closeExport(target);
        applyTo(model, [write(0, 4096, 7), zero(mib, 65_536)]);
        await expectBytes(disks.backend, [...chain, overlay], model);
        const changes = await disks.backend.changesOf([...chain, overlay]);
        expect([changes?.covers(0, 4096), changes?.covers(mib, mib + 65_536)]).toEqual([true, true]);
      });

      it('fall between two writes of a client that does not stop', async () => {
        const { chain, home } = await disks.build([]);
        const target = await disks.serve(chain);
        const client = await connectNbd(target.socketPath);
        let [begun, acknowledged, isStopped] = [0, 0, false];
        const writing = (async () => {
          for (; !isStopped; acknowledged += 1) {
            begun += 1;
            await client.write(...nthWrite(begun));
          }
        })();
        for (let i = 0; i < 4; i += 1) {
          const overlay = newLayer(home);
          await disks.backend.createLayer(overlay, chain);
          await expect.poll(() => acknowledged).toBeGreaterThan(slots);
          const atLeast = acknowledged;
          await disks.backend.snapshotExport(target, chain, overlay);
          const atMost = begun;
          const { bytes } = await readDisk(disks.backend, chain);
          const count = countOf(bytes, atLeast, atMost);
          expect(count).toBeDefined();
          expect(bytes.equals(afterWrites(count ?? 0))).toBe(true);
          chain.push(overlay);
        }
        isStopped = true;
        await writing;
        await client.close();
        await disks.backend.closeExport(target);
        await expectBytes(disks.backend, chain, afterWrites(acknowledged));
      });

      it('refuse one of something else than what they serve', async () => {
        const { chain, home } = await disks.build([], []);
        const target = await disks.serve(chain);
        const overlay = newLayer(home);
        await disks.backend.createLayer(overlay, chain);
        const snapshot = (layers: readonly Layer[], top: Layer) => disks.backend.snapshotExport(target, layers, top);
        await expect(snapshot(chain.slice(0, 1), overlay)).rejects.toMatchObject({ kind: 'mismatch' });
        await expect(snapshot([], overlay)).rejects.toMatchObject({ kind: 'mismatch' });
        await expect(snapshot(chain, newLayer(randomUUID()))).rejects.toMatchObject({ kind: 'mismatch' });
        await expect(snapshot(chain, newLayer(home))).rejects.toThrow();
        expect((await disks.backend.inspectExport(target)).layerIds).toEqual(chain.map((layer) => layer.id));
        await snapshot(chain, overlay);
      });
    });

    describe('that outlive whoever started them', () => {
      it('are handed over to another instance', async () => {
        const { chain, model, home } = await disks.build([]);
        const target = JSON.parse(JSON.stringify(await disks.serve(chain))) as DiskExport;
        const successor = disks.under.another();
        expect(await successor.inspectExport(target)).toEqual({ alive: true, layerIds: chain.map((layer) => layer.id) });
        const overlay = newLayer(home);
        await successor.createLayer(overlay, chain);
        await successor.snapshotExport(target, chain, overlay);
        await writeThrough(target, [write(0, 4096, 8)]);
        await successor.closeExport(target);
        applyTo(model, [write(0, 4096, 8)]);
        await expectBytes(successor, [...chain, overlay], model);
        expect(await disks.backend.inspectExport(target)).toEqual(gone);
      });

      it('may be killed: what was flushed is there, and the disk can be served again', async () => {
        const { chain, model, home } = await disks.build([write(0, mib, 1)]);
        const target = await disks.serve(chain);
        await writeThrough(target, [write(mib, mib, 2)]);
        applyTo(model, [write(mib, mib, 2)]);
        const overlay = newLayer(home);
        await disks.backend.createLayer(overlay, chain);
        await disks.under.kill(target);
        const successor = disks.under.another();
        expect(await successor.inspectExport(target)).toEqual(gone);
        await expect(successor.snapshotExport(target, chain, overlay)).rejects.toMatchObject({ kind: 'gone' });
        await successor.closeExport(target);
        await successor.closeExport(target);
        await successor.createLayer(overlay, chain);
        await expectBytes(successor, chain, model);
        await writeOffline(successor, [...chain, overlay], [write(0, 4096, 3)]);
        applyTo(model, [write(0, 4096, 3)]);
        await expectBytes(disks.backend, [...chain, overlay], model);
      });

      it('may be killed and asked for again under the same id', async () => {
        const { chain, model } = await disks.build([write(0, mib, 1)]);
        const target = await disks.serve(chain);
        await disks.under.kill(target);
        const again = await disks.under.another().openExport(target.id, chain, { readOnly: false });
        expect((await disks.backend.inspectExport(again)).alive).toBe(true);
        await writeThrough(again, [write(mib, 4096, 2)]);
        applyTo(model, [write(mib, 4096, 2)]);
        await disks.backend.closeExport(again);
        await expectBytes(disks.backend, chain, model);
      });
    });
  });
}

/** A client writes to these slots by turns, each time something else. */
const slots = 64;
const slotBytes = 4096;

const patternOf = (n: number): number => (Math.floor(n / slots) % 255) + 1;
const nthWrite = (n: number): [number, Buffer] => [(n % slots) * slotBytes, Buffer.alloc(slotBytes, patternOf(n))];

/** What a disk holds after so many. */
function afterWrites(count: number): Buffer {
  const model = Buffer.alloc(diskBytes);
  for (let n = Math.max(1, count - slots + 1); n <= count; n += 1) nthWrite(n)[1].copy(model, nthWrite(n)[0]);
  return model;
}

/** After how many writes, of those that it can have been, the slots begin as these do. */
function countOf(bytes: Buffer, atLeast: number, atMost: number): number | undefined {
  for (let count = atLeast; count <= atMost; count += 1) {
    const last = Array.from({ length: slots }, (_, i) => count - i);
    if (last.every((n) => bytes[(n % slots) * slotBytes] === patternOf(n))) return count;
  }
  return undefined;
}
