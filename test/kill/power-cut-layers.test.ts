/**
 * Everything that the layers of volumes go through, done once on a disk whose power can be cut, and then looked at after a cut behind every few of its
 * operations: what was acknowledged must be there, and the operation that was on its way can be repeated.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { openDisk } from '../../src/engine/disk/open-disk.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import type { DiskExport, Layer, LayerChain, VolumeBackend } from '../../src/engine/volumes/contract.ts';
import { createLayeredFiles } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { syncFolder } from '../../src/lib/durable-files.ts';
import { silentLog } from '../../src/lib/log.ts';
import { seededRandom } from '../../src/lib/random.ts';
import { connectNbd, type NbdClient } from '../support/nbd-client.ts';
import { canCutPower, type PowerCutDisk, startPowerCutDisk } from '../support/power-cut/power-cut-disk.ts';

const run = promisify(execFile);
const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Date.now() % 2 ** 31);
/** As many moments, spread evenly over the whole log; more on demand. */
const cutCount = Number(process.env.STILLPOINT_POWER_CUTS ?? 150);
const mib = 2 ** 20;
const diskBytes = 16 * mib;
const sectorBytes = 512;
const writesPerRound = 8;

/** What must be readable after a cut that comes behind `count` operations and before the next expectation. */
interface Expectation {
  readonly count: number;
  readonly disks: readonly { readonly chain: LayerChain; readonly flushed: Buffer; readonly maybe: readonly Buffer[] }[];
  /** Repeats what was on its way; afterwards the other disks must be readable. */
  readonly repeat?: {
    readonly name: string;
    run(backend: VolumeBackend): Promise<void>;
    readonly disks: readonly { readonly chain: LayerChain; readonly flushed: Buffer }[];
  };
}

describe.skipIf(!canCutPower())('power cuts', () => {
  let folder: string;
  let disk: PowerCutDisk;
  let backend: VolumeBackend;
  const expectations: Expectation[] = [];
  const random = seededRandom(seed);

  const backendAt = (root: string): VolumeBackend =>
    createLayeredFiles({
      root: join(root, 'volumes'),
      runtimeDir: join(folder, 'run'),
      log: silentLog,
      space: createSpaceAccount({ keptBytes: 0 }),
      confinement: createConfinement(),
    });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sp-cut-'));
    await mkdir(join(folder, 'run'), { mode: 0o700 });
    disk = await startPowerCutDisk(join(folder, 'disk'));
    // As the state directory is: made and synced when the service starts.
    await mkdir(join(disk.folder, 'volumes'));
    await syncFolder(disk.folder);
    backend = backendAt(disk.folder);
  });
  afterAll(async () => {
    await disk.stop();
    await rm(folder, { recursive: true, force: true });
    process.stdout.write(`power cuts looked at: ${cutCount}, STILLPOINT_TEST_SEED=${seed}\n`);
  });

  const note = async (expectation: Omit<Expectation, 'count'>): Promise<void> => {
    expectations.push({ count: await disk.length(), ...expectation });
  };
  const layer = (home: string, format: Layer['format'] = 'qcow2', sizeBytes = diskBytes): Layer => ({
    id: randomUUID(),
    home,
    format,
    sizeBytes,
  });

  /** One operation: noted before it begins, with what a repeat must lead to, and after it ended. */
  async function step(
    name: string,
    before: readonly { chain: LayerChain; flushed: Buffer }[],
    act: (backend: VolumeBackend) => Promise<void>,
    after: readonly { chain: LayerChain; flushed: Buffer }[],
  ): Promise<void> {
    const certain = (disks: typeof before) => disks.map((each) => ({ ...each, flushed: Buffer.from(each.flushed), maybe: [] }));
    await note({ disks: certain(before), repeat: { name, run: act, disks: certain(after) } });
    await act(backend);
    await note({ disks: certain(after) });
  }

  /** Rounds of writes and zeroes, each flushed; what is on its way may be there or not, sector by sector. */
  async function writeRounds(client: NbdClient, chain: LayerChain, content: Buffer, rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      const later = Buffer.from(content);
      const acts: (() => Promise<void>)[] = [];
      for (let i = 0; i < writesPerRound; i += 1) {
        const length = sectorBytes * (1 + Math.floor(random() * 200));
        // Each in a part of its own: a sector has one old and one new content.
        const room = diskBytes / writesPerRound;
        const at = i * room + Math.floor((random() * (room - length)) / sectorBytes) * sectorBytes;
        const pattern = random() < 0.25 ? 0 : 1 + Math.floor(random() * 255);
        later.fill(pattern, at, at + length);
        acts.push(() => (pattern === 0 ? client.zero(at, length) : client.write(at, Buffer.alloc(length, pattern))));
      }
      // QEMU sets what a write newly allocates to zero first (qcow2's handle_alloc_space), and may take along older parts that the same write
      // covers. So what nobody was told to be written may also be zeroes.
      const stages = [Buffer.from(content), Buffer.alloc(diskBytes)];
      await note({ disks: [{ chain, flushed: Buffer.from(content), maybe: stages }] });
      for (const act of acts) await act();
      stages.push(later);
      later.copy(content);
      await note({ disks: [{ chain, flushed: later, maybe: stages }] });
      await client.flush();
      await note({ disks: [{ chain, flushed: Buffer.from(content), maybe: [] }] });
    }
  }

  it('history', async () => {
    const home = randomUUID();
    const [first, second, third, fourth] = [layer(home), layer(home), layer(home), layer(home)];
    const content = Buffer.alloc(diskBytes);
    const empty = Buffer.alloc(diskBytes);
    await step('createLayer', [], (on) => on.createLayer(first, []), [{ chain: [first], flushed: empty }]);
    const serve = async (chain: LayerChain): Promise<{ target: DiskExport; client: NbdClient }> => {
      const target = await backend.openExport(randomUUID(), chain, { readOnly: false });
      return { target, client: await connectNbd(target.socketPath) };
    };
    const { target, client } = await serve([first]);
    await writeRounds(client, [first], content, 6);
    const frozen = Buffer.from(content);
    // A snapshot of a connected disk. The rows follow the file of the overlay: where it is there, it is the top.
    await step('createLayer above', [{ chain: [first], flushed: content }], (on) => on.createLayer(second, [first]), [
      { chain: [first, second], flushed: content },
    ]);
    await note({ disks: [{ chain: [first, second], flushed: Buffer.from(content), maybe: [] }] });
    await backend.snapshotExport(target, [first], second);
    await note({
      disks: [
        { chain: [first], flushed: frozen, maybe: [] },
        { chain: [first, second], flushed: Buffer.from(content), maybe: [] },
      ],
    });
    await writeRounds(client, [first, second], content, 6);
    await client.close();
    await backend.closeExport(target);
    await note({ disks: [{ chain: [first, second], flushed: Buffer.from(content), maybe: [] }] });

    await step('createLayer offline', [{ chain: [first, second], flushed: content }], (on) => on.createLayer(third, [first, second]), [
      { chain: [first, second, third], flushed: content },
    ]);
    const again = await serve([first, second, third]);
    await writeRounds(again.client, [first, second, third], content, 4);
    await again.client.close();
    await backend.closeExport(again.target);
    const three = { chain: [first, second, third], flushed: content };
    const two = { chain: [first, third], flushed: content };
    await step('merge', [three], (on) => on.merge(first, second, third, { signal: new AbortController().signal }), [two]);
    await step('removeLayer', [two], (on) => on.removeLayer(second), [two]);
    const larger = [first, { ...third, sizeBytes: 2 * diskBytes }];
    await step('resizeTop', [], (on) => on.resizeTop([first, third], 2 * diskBytes), [
      { chain: larger, flushed: Buffer.concat([content, Buffer.alloc(diskBytes)]) },
    ]);

    const base = layer(randomUUID(), 'raw');
    await step('a base', [], (on) => writeBase(on, base, frozen), [{ chain: [base], flushed: frozen }]);
    const clone = layer(randomUUID());
    await step('a clone', [{ chain: [base], flushed: frozen }], (on) => on.createLayer(clone, [base]), [
      { chain: [base, clone], flushed: frozen },
    ]);
    const own = await serve([base, clone]);
    const cloned = Buffer.from(frozen);
    await writeRounds(own.client, [base, clone], cloned, 3);
    await own.client.close();
    await backend.closeExport(own.target);
    await step('createLayer on the clone', [], (on) => on.createLayer(fourth, [base, clone]), [
      { chain: [base, clone, fourth], flushed: cloned },
    ]);
    await step(
      'merge into a base',
      [{ chain: [base, clone, fourth], flushed: cloned }],
      (on) => on.merge(base, clone, fourth, { signal: new AbortController().signal }),
      [{ chain: [base, fourth], flushed: cloned }],
    );
  });

  it('what was acknowledged is there, wherever the power goes', { timeout: 600_000 }, async () => {
    const total = await disk.length();
    const last = expectations.at(-1)?.count ?? 0;
    expect(last).toBeLessThanOrEqual(total);
    const first = expectations[0]?.count ?? 0;
    for (let i = 0; i < cutCount; i += 1) {
      const count = first + Math.floor(((total - first) * (i + random())) / cutCount);
      await lookAt(count, Math.floor(random() * 2 ** 31));
    }
  });

  async function lookAt(count: number, cutSeed: number): Promise<void> {
    const expected = expectations.findLast((each) => each.count <= count);
    if (expected === undefined) return;
    const root = await mkdtemp(join(folder, 'after-'));
    try {
      await disk.writeOut(count, cutSeed, join(root, 'disk'));
      const revived = backendAt(join(root, 'disk'));
      for (const each of expected.disks) await expectDisk(revived, each);
      if (expected.repeat !== undefined) {
        await expected.repeat.run(revived);
        for (const each of expected.repeat.disks) await expectDisk(revived, { ...each, maybe: [] });
      }
    } catch (error) {
      const during = expected.repeat?.name ?? 'nothing, or writes';
      throw new Error(`cut behind ${count} operations (seed ${cutSeed}), during ${during}: ${error}`, { cause: error });
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  }

  async function expectDisk(on: VolumeBackend, { chain, flushed, maybe }: Expectation['disks'][number]): Promise<void> {
    const source = await on.source(chain);
    const reader = openDisk(source);
    const bytes = Buffer.alloc(reader.sizeBytes);
    const allocated = reader.allocated();
    reader.readSync(bytes, 0);
    reader.close();
    for (let at = 0; at < bytes.length; at += sectorBytes) {
      const found = bytes.subarray(at, at + sectorBytes);
      const isKnown = [flushed, ...maybe].some((content) => content.compare(found, 0, sectorBytes, at, at + sectorBytes) === 0);
      if (!isKnown) throw new Error(`the sector at ${at} of ${chain.length} layers holds ${found[0]}, flushed was ${flushed[at]}`);
    }
    for (const [start, end] of ExtentSet.of([[0, bytes.length]])
      .subtract(allocated)
      .ranges())
      expect(bytes.subarray(start, end).equals(Buffer.alloc(end - start)), `data where none is noted, ${start}-${end}`).toBe(true);
    for (const { path, format } of source.layers) if (format === 'qcow2') await checkLayer(path);
  }

  /** Leaks are what an unclean end leaves; errors would be lost data. */
  async function checkLayer(path: string): Promise<void> {
    await run('qemu-img', ['check', '-q', '-f', 'qcow2', path]).catch((error: { code?: number; stdout?: string; stderr?: string }) => {
      if (error.code !== 3) throw new Error(`${path}: ${error.stdout}${error.stderr}`);
    });
  }
});

async function writeBase(on: VolumeBackend, base: Layer, content: Buffer): Promise<void> {
  const { path } = await on.prepareLayer(base, []);
  const { open } = await import('node:fs/promises');
  const file = await open(path, 'w');
  await file.write(content);
  await file.close();
  await on.sealLayer(base, [], ExtentSet.of([[0, content.length]]));
}
