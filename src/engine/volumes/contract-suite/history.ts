/**
 * Any history of one disk: whatever clients write, and whatever is done to its layers meanwhile, the disk and every frozen state of it that nobody
 * has merged away hold what a plain buffer holds that got the same writes.
 */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import type { DiskExport, Layer, VolumeBackend } from '../contract.ts';
import {
  applyTo,
  type BackendUnderTest,
  diskBytes,
  expectBytes,
  type MakeBackend,
  newLayer,
  notAborted,
  useTestDisks,
  type Write,
  writeThrough,
} from './test-disks.ts';

type Step = readonly Write[] | 'snapshot' | 'reopen' | 'kill' | 'successor' | 'merge' | 'live-merge' | 'grow';

const grains = fc.constantFrom(512, 4096, 65_536);
const writesOfAStep = fc.array(
  fc
    .record({
      kind: fc.constantFrom('write', 'write', 'zero', 'discard'),
      at: fc.nat(diskBytes / 512 - 1),
      count: fc.integer({ min: 1, max: 40 }),
      pattern: fc.integer({ min: 1, max: 255 }),
      grain: grains,
    })
    .map(({ kind, at, count, pattern, grain }): Write => {
      // Servers may ignore the odd ends of a discard.
      const unit = kind === 'discard' ? 65_536 : grain;
      const start = Math.floor((at * 512) / unit) * unit;
      const length = Math.min(count * unit, diskBytes - start);
      return kind === 'write' ? { kind, at: start, length, pattern } : { kind: kind === 'zero' ? 'zero' : 'discard', at: start, length };
    }),
  { minLength: 1, maxLength: 6 },
);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: writesOfAStep },
  { weight: 4, arbitrary: fc.constant('snapshot' as const) },
  { weight: 4, arbitrary: fc.constantFrom('merge' as const, 'live-merge' as const) },
  { weight: 2, arbitrary: fc.constantFrom('reopen' as const, 'kill' as const, 'successor' as const, 'grow' as const) },
);

const runs = 12;

export function describeHistories(makeBackend: MakeBackend): void {
  describe('any history', () => {
    const disks = useTestDisks(makeBackend);

    it('leaves the disk, and what was frozen, equal to a plain buffer', { timeout: 120_000 }, async () => {
      const seed = Number(process.env.STILLPOINT_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
      process.stdout.write(`histories of a disk: ${runs}, STILLPOINT_TEST_SEED=${seed}\n`);
      await fc.assert(
        fc.asyncProperty(fc.array(anyStep, { minLength: 4, maxLength: 14 }), async (steps) => {
          const disk = new PlayedDisk(disks.under);
          await disk.begin();
          try {
            for (const step of steps) await disk.take(step);
          } finally {
            await disk.end();
          }
          await disk.check();
          await disk.remove();
        }),
        { numRuns: runs, seed },
      );
    });
  });
}

class PlayedDisk {
  readonly #under: BackendUnderTest;
  readonly #home = randomUUID();
  readonly #chain: Layer[] = [];
  /** What the disk held when each of the lower layers was frozen. */
  readonly #frozen = new Map<string, Buffer>();
  #model = Buffer.alloc(diskBytes);
  #backend: VolumeBackend;
  #target: DiskExport | undefined;

  constructor(under: BackendUnderTest) {
    this.#under = under;
    this.#backend = under.backend;
  }

  async begin(): Promise<void> {
    this.#chain.push(newLayer(this.#home));
    await this.#backend.createLayer(this.#top, []);
    await this.#open();
  }

  async take(step: Step): Promise<void> {
    if (typeof step !== 'string') return await this.#write(step);
    switch (step) {
      case 'snapshot':
        return await this.#snapshot();
      case 'reopen':
        await this.end();
        return await this.#open();
      case 'kill':
        await this.#under.kill(this.#target as DiskExport);
        await this.end();
        return await this.#open();
      case 'successor':
        this.#backend = this.#under.another();
        return;
      case 'live-merge':
        return await this.#merge((older, younger) =>
          this.#backend.mergeExport(this.#target as DiskExport, [...this.#chain], older, younger, notAborted()),
        );
      case 'merge':
        await this.end();
        await this.#merge((older, younger, child) => this.#backend.merge(older, younger, child, notAborted()));
        return await this.#open();
      case 'grow':
        await this.end();
        await this.#grow();
        return await this.#open();
    }
  }

  async end(): Promise<void> {
    if (this.#target === undefined) return;
    await this.#backend.closeExport(this.#target);
    this.#target = undefined;
  }

  async check(): Promise<void> {
    await expectBytes(this.#backend, this.#chain, this.#model);
    for (const [i, layer] of this.#chain.entries()) {
      const frozen = this.#frozen.get(layer.id);
      if (frozen !== undefined) await expectBytes(this.#backend, this.#chain.slice(0, i + 1), frozen);
    }
    await this.#checkChanges();
  }

  async remove(): Promise<void> {
    for (const layer of this.#chain.toReversed()) await this.#backend.removeLayer(layer);
  }

  get #top(): Layer {
    return this.#chain.at(-1) as Layer;
  }

  async #open(): Promise<void> {
    this.#target = await this.#backend.openExport(randomUUID(), [...this.#chain], { readOnly: false });
  }

  async #write(writes: readonly Write[]): Promise<void> {
    await writeThrough(this.#target as DiskExport, writes);
    applyTo(this.#model, writes);
  }

  async #snapshot(): Promise<void> {
    const overlay = newLayer(this.#home, this.#top.sizeBytes);
    await this.#backend.createLayer(overlay, this.#chain);
    await this.#backend.snapshotExport(this.#target as DiskExport, [...this.#chain], overlay);
    this.#frozen.set(this.#top.id, Buffer.from(this.#model));
    this.#chain.push(overlay);
  }

  /** The two layers below the top become one. */
  async #merge(merge: (older: Layer, younger: Layer, child: Layer) => Promise<void>): Promise<void> {
    const at = this.#chain.length - 3;
    const [older, younger, child] = at < 0 ? [] : this.#chain.slice(at);
    if (older === undefined || younger === undefined || child === undefined) return;
    await merge(older, younger, child);
    await this.#backend.removeLayer(younger);
    this.#chain.splice(at, 2, { ...older, sizeBytes: younger.sizeBytes });
    this.#frozen.set(older.id, this.#frozen.get(younger.id) as Buffer);
    this.#frozen.delete(younger.id);
  }

  async #grow(): Promise<void> {
    const sizeBytes = this.#top.sizeBytes + 65_536;
    await this.#backend.resizeTop(this.#chain, sizeBytes);
    this.#chain.push({ ...(this.#chain.pop() as Layer), sizeBytes });
    this.#model = Buffer.concat([this.#model, Buffer.alloc(65_536)]);
  }

  /** Whatever differs between two neighbouring states is among the changes. */
  async #checkChanges(): Promise<void> {
    let below: Buffer = Buffer.alloc(0);
    for (const [i, layer] of this.#chain.entries()) {
      const state = this.#frozen.get(layer.id) ?? this.#model;
      const changes = await this.#backend.changesOf(this.#chain.slice(0, i + 1));
      for (let at = 0; at < state.length; at += 512) {
        const [now, before] = [state.subarray(at, at + 512), below.subarray(at, at + 512)];
        const isSame = now.equals(before.length === 0 ? Buffer.alloc(512) : before);
        if (!isSame && changes?.covers(at, at + 512) !== true) throw new Error(`layer ${i} does not tell of a change at ${at}`);
      }
      below = state;
    }
  }
}
