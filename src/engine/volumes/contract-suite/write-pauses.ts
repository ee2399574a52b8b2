/** Holding back what clients write to several disks, so that snapshots of them are one moment. */
import { describe, expect, it } from 'vitest';
import { connectNbd, type NbdClient } from '../../../../test/support/nbd-client.ts';
import type { DiskExport, Layer, WritePause } from '../contract.ts';
import { discard, expectBytes, type MakeBackend, mib, newLayer, readDisk, useTestDisks, write, writeThrough } from './test-disks.ts';

const long = 7_500;
const blockBytes = 4096;

interface Served {
  readonly target: DiskExport;
  readonly chain: Layer[];
  readonly home: string;
}

export function describeWritePauses(makeBackend: MakeBackend): void {
  describe('pauses of writes', () => {
    const disks = useTestDisks(makeBackend);

    const serveNew = async (): Promise<Served> => {
      const { chain, home } = await disks.build([write(0, mib, 1)]);
      return { target: await disks.serve(chain), chain, home };
    };
    const overlayOn = async ({ chain, home }: Served): Promise<Layer> => {
      const overlay = newLayer(home);
      await disks.backend.createLayer(overlay, chain);
      return overlay;
    };
    const during = async (targets: readonly DiskExport[], work: (pause: WritePause) => Promise<void>, holdMs = long): Promise<void> => {
      const pause = await disks.backend.pauseWrites(targets, holdMs);
      try {
        await work(pause);
      } finally {
        await pause.resume();
      }
    };

    it.each<[string, (client: NbdClient) => Promise<void>]>([
      ['writes', (client) => client.write(0, Buffer.alloc(blockBytes, 2))],
      ['zeroes', (client) => client.zero(0, blockBytes)],
      ['discards', (client) => client.trim(0, blockBytes)],
    ])('hold back %s until they are resumed, and at once then', async (_what, change) => {
      const { target } = await serveNew();
      const client = await connectNbd(target.socketPath);
      let acknowledged = false;
      let changed: Promise<void> | undefined;
      await during([target], async (pause) => {
        changed = change(client).then(() => {
          acknowledged = true;
        });
        // A change that is not held back is answered before what was asked after it.
        await client.flush();
        await client.read(mib, blockBytes);
        expect([acknowledged, pause.holds()]).toEqual([false, true]);
      });
      const resumedAt = performance.now();
      await changed;
      expect(performance.now() - resumedAt).toBeLessThan(long / 3);
      await client.close();
    });

    it('let reads and flushes pass', async () => {
      const { target } = await serveNew();
      const client = await connectNbd(target.socketPath);
      await during([target], async (pause) => {
        expect((await client.read(0, blockBytes)).equals(Buffer.alloc(blockBytes, 1))).toBe(true);
        await client.flush();
        expect(pause.holds()).toBe(true);
      });
      await client.close();
    });

    it('end by themselves, and can be followed by others', async () => {
      const { target } = await serveNew();
      const client = await connectNbd(target.socketPath);
      const startedAt = performance.now();
      const pause = await disks.backend.pauseWrites([target], 2_000);
      expect(pause.holds()).toBe(true);
      await client.write(0, Buffer.alloc(blockBytes, 2));
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(1_990);
      expect(performance.now() - startedAt).toBeLessThan(long);
      expect(pause.holds()).toBe(false);
      // What the one who died would have left is in nobody's way.
      await during([target], async (again) => expect(again.holds()).toBe(true), 2_000);
      await pause.resume();
      await disks.under.another().resumeWrites(target);
      await disks.under.another().resumeWrites(target);
      await client.write(0, Buffer.alloc(blockBytes, 3));
      await client.close();
    });

    it('whose caller is gone are ended by another instance', async () => {
      const { target } = await serveNew();
      await disks.backend.pauseWrites([target], long);
      const client = await connectNbd(target.socketPath);
      const written = client.write(0, Buffer.alloc(blockBytes, 2));
      const startedAt = performance.now();
      await disks.under.another().resumeWrites(target);
      await written;
      expect(performance.now() - startedAt).toBeLessThan(long / 3);
      await client.close();
    });

    it('let disks be frozen: what a client writes meanwhile is in one of the layers, whole', async () => {
      const [first, second] = [await serveNew(), await serveNew()];
      const overlays = [await overlayOn(first), await overlayOn(second)] as const;
      const client = await connectNbd(first.target.socketPath);
      let written: Promise<void> | undefined;
      await during([first.target, second.target], async (pause) => {
        written = client.write(0, Buffer.alloc(blockBytes, 2));
        await Promise.all([
          disks.backend.snapshotExport(first.target, first.chain, overlays[0]),
          disks.backend.snapshotExport(second.target, second.chain, overlays[1]),
        ]);
        expect(pause.holds()).toBe(true);
      });
      await written;
      await client.close();
      const frozen = (await readDisk(disks.backend, first.chain)).bytes[0];
      expect([1, 2]).toContain(frozen);
      await disks.backend.closeExport(first.target);
      expect((await readDisk(disks.backend, [...first.chain, overlays[0]])).bytes[0]).toBe(2);
      expect((await disks.backend.inspectExport(second.target)).layerIds).toEqual([...second.chain, overlays[1]].map(({ id }) => id));
    });

    it('make snapshots of several disks one moment, for clients of both', { timeout: 60_000 }, async () => {
      const pair = [await serveNew(), await serveNew()] as const;
      const clients = await Promise.all(pair.map(({ target }) => connectNbd(target.socketPath)));
      let isStopped = false;
      // Each stream counts in a block of its own: on the one disk, then, when that is acknowledged, on the other.
      const streams = Array.from({ length: streamCount }, async (_, stream) => {
        for (let count = 1; !isStopped; count += 1) {
          for (const disk of order(stream)) await (clients[disk] as NbdClient).write(stream * blockBytes, numbered(count));
        }
      });
      for (let round = 0; round < 5; round += 1) {
        const overlays = [await overlayOn(pair[0]), await overlayOn(pair[1])] as const;
        await during([pair[0].target, pair[1].target], async (pause) => {
          for (const [i, { target, chain }] of pair.entries()) await disks.backend.snapshotExport(target, chain, overlays[i] as Layer);
          expect(pause.holds()).toBe(true);
        });
        const held = await Promise.all(pair.map(({ chain }) => readDisk(disks.backend, chain)));
        for (let stream = 0; stream < streamCount; stream += 1) {
          const [ahead, behind] = order(stream).map((disk) => numberAt((held[disk] as { bytes: Buffer }).bytes, stream)) as [
            number,
            number,
          ];
          expect([0, 1]).toContain(ahead - behind);
        }
        for (const [i, { chain }] of pair.entries()) chain.push(overlays[i] as Layer);
      }
      isStopped = true;
      await Promise.all(streams);
      await Promise.all(clients.map((client) => client.close()));
    });

    it('do not begin on any disk when one of them cannot be held back', async () => {
      const [first, second, third] = [await serveNew(), await serveNew(), await serveNew()];
      const readOnly = await disks.serve((await disks.build([write(0, mib, 1)])).chain, { readOnly: true });
      await expect(disks.backend.pauseWrites([first.target, readOnly], long)).rejects.toMatchObject({ kind: 'mismatch' });
      await disks.under.kill(second.target);
      await expect(disks.backend.pauseWrites([first.target, second.target, third.target], long)).rejects.toMatchObject({ kind: 'gone' });
      await expect(disks.backend.pauseWrites([first.target], 10 * long)).rejects.toThrow(RangeError);
      const startedAt = performance.now();
      for (const { target } of [first, third]) await writeThrough(target, [write(0, blockBytes, 2), discard(mib, blockBytes)]);
      expect(performance.now() - startedAt).toBeLessThan(long / 3);
      await disks.backend.resumeWrites(second.target);
    });

    it('end on the others when a server is killed in the middle, and a close ends its own', async () => {
      const [first, second, third] = [await serveNew(), await serveNew(), await serveNew()];
      const pause = await disks.backend.pauseWrites([first.target, second.target, third.target], long);
      await disks.under.kill(second.target);
      await disks.backend.closeExport(third.target);
      await pause.resume();
      const startedAt = performance.now();
      await writeThrough(first.target, [write(0, blockBytes, 2)]);
      expect(performance.now() - startedAt).toBeLessThan(long / 3);
      const [top] = third.chain;
      await expectBytes(disks.backend, [top as Layer], Buffer.concat([Buffer.alloc(mib, 1), Buffer.alloc(7 * mib)]));
    });
  });
}

const streamCount = 8;
/** Half of the streams begin with the one disk, half with the other. */
const order = (stream: number): [number, number] => (stream % 2 === 0 ? [0, 1] : [1, 0]);

function numbered(count: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  block.writeUInt32LE(count, 0);
  return block;
}

/** What a block says before anything was counted in it is what the disk was filled with. */
function numberAt(bytes: Buffer, stream: number): number {
  const number = bytes.readUInt32LE(stream * blockBytes);
  return number === 0x0101_0101 ? 0 : number;
}
