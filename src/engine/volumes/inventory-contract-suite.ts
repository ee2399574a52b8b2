/** What every inventory of layers must do, as tests. A backend's own test file calls `describeLayerInventory` with a way to make one. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { armCrashPoint, disarmCrashPoints } from '../../lib/crash-points.ts';
import type { Layer, VolumeBackend } from './contract.ts';
import { applyTo, expectBytes, newLayer, writeOffline } from './contract-suite/test-disks.ts';
import type { LayerInventory, LayerName, StoredLayer } from './inventory-contract.ts';

export interface InventoryUnderTest {
  readonly backend: VolumeBackend;
  readonly inventory: LayerInventory;
  /** The instants inside of a move into the trash, of the way back, and of a deletion at which a process may die. */
  readonly crashPoints: { readonly trash: readonly string[]; readonly restore: readonly string[]; readonly delete: readonly string[] };
  dispose(): Promise<void>;
}

const mib = 2 ** 20;
const diskBytes = 8 * mib;
const note = { reason: 'nobody knows it', at: new Date('2026-11-21T03:00:00.000Z') };
const nameOf = ({ id, home, format }: LayerName): LayerName => ({ id, home, format });

export function describeLayerInventory(name: string, make: () => Promise<InventoryUnderTest>): void {
  describe(`${name} as an inventory of layers`, () => {
    let under: InventoryUnderTest;
    let inventory: LayerInventory;
    let layer: Layer;
    let child: Layer;
    let model: Buffer;
    beforeAll(async () => {
      under = await make();
      inventory = under.inventory;
    });
    beforeEach(async () => {
      const home = randomUUID();
      layer = newLayer(home, diskBytes);
      child = newLayer(home, 2 * diskBytes);
      await under.backend.createLayer(layer, []);
      await writeOffline(under.backend, [layer], [{ kind: 'write', at: mib, length: mib, pattern: 7 }]);
      model = Buffer.alloc(diskBytes);
      applyTo(model, [{ kind: 'write', at: mib, length: mib, pattern: 7 }]);
      await under.backend.createLayer(child, [layer]);
    });
    afterEach(() => disarmCrashPoints());
    afterAll(() => under.dispose());

    const layersOf = async (home: string): Promise<StoredLayer[]> => {
      const found: StoredLayer[] = [];
      for await (const item of inventory.listStored()) if (item.type === 'layer' && item.home === home) found.push(item);
      return found;
    };
    const idsOf = async (home: string): Promise<string[]> => (await layersOf(home)).map(({ id }) => id).sort();
    const trashed = async (home: string) => (await inventory.listTrash()).filter((item) => item.layer?.home === home);

    it('tells of each layer what it is, what it stands on and what it takes', async () => {
      const found = await layersOf(layer.home);
      expect(found.map(({ id, content, damage, openMark, isKept }) => ({ id, content, damage, openMark, isKept })).sort(byId)).toEqual(
        [
          { id: layer.id, content: { sizeBytes: diskBytes, below: null }, damage: undefined, openMark: 'none', isKept: false },
          { id: child.id, content: { sizeBytes: 2 * diskBytes, below: nameOf(layer) }, damage: undefined, openMark: 'none', isKept: false },
        ].sort(byId),
      );
      expect(found.find(({ id }) => id === layer.id)?.allocatedBytes).toBe(await under.backend.allocatedBytes(layer));
      expect(await inventory.findStored(layer)).toMatchObject(nameOf(layer));
      expect(await inventory.findStored({ ...layer, id: randomUUID() })).toBeUndefined();
      expect(inventory.placeOf(layer)).toContain(layer.id);
    });

    it('knows which layers a running program writes to', async () => {
      const target = await under.backend.openExport(randomUUID(), [layer, child], { readOnly: false });
      try {
        expect((await inventory.findStored(child))?.openMark).toBe('live');
        await expect(inventory.trashLayer(child, note)).rejects.toMatchObject({ kind: 'busy' });
        await expect(inventory.checkLayer(child, { signal: new AbortController().signal })).rejects.toMatchObject({ kind: 'busy' });
        expect(await inventory.listExports()).toContainEqual(
          expect.objectContaining({ name: inventory.exportNameOf(target.id), isAlive: true }),
        );
      } finally {
        await under.backend.closeExport(target);
      }
      expect((await inventory.findStored(child))?.openMark).toBe('none');
      expect((await inventory.listExports()).map((found) => found.name)).not.toContain(inventory.exportNameOf(target.id));
    });

    it('ends a server that it found, with everything that was written', async () => {
      const target = await under.backend.openExport(randomUUID(), [layer, child], { readOnly: false });
      const name = inventory.exportNameOf(target.id);
      await inventory.endFoundExport(name);
      await inventory.endFoundExport(name);
      expect(await under.backend.inspectExport(target)).toMatchObject({ alive: false });
      expect((await inventory.findStored(child))?.openMark).toBe('none');
      expect((await inventory.listExports()).map((found) => found.name)).not.toContain(name);
    });

    it('finds whole layers whole', async () => {
      expect(await inventory.checkLayer(layer, { signal: new AbortController().signal })).toEqual({ damage: undefined, leakedBytes: 0 });
      await inventory.repairLayer(layer);
      await expectBytes(under.backend, [layer], model);
      await expect(inventory.repairLayer(newLayer(layer.home))).rejects.toMatchObject({ kind: 'missing-layer' });
    });

    describe('the trash', () => {
      it('takes a layer and gives it back as it was', async () => {
        expect(await inventory.trashLayer(layer, note)).toBe(true);
        expect(await inventory.trashLayer(layer, note)).toBe(false);
        expect(await idsOf(layer.home)).toEqual([child.id]);
        const [item, ...others] = await trashed(layer.home);
        expect(others).toEqual([]);
        expect(item).toMatchObject({ layer: nameOf(layer), reason: note.reason, trashedAt: note.at });
        expect(item?.allocatedBytes).toBeGreaterThanOrEqual(mib);
        await inventory.restoreFromTrash(item?.name ?? '', { keep: false });
        await expectBytes(under.backend, [layer], model);
        expect(await trashed(layer.home)).toEqual([]);
        expect(await inventory.findStored(layer)).toMatchObject({ isKept: false });
      });

      it('marks what somebody wants to keep, until the layer is removed', async () => {
        await inventory.trashLayer(layer, note);
        await inventory.restoreFromTrash((await trashed(layer.home))[0]?.name ?? '', { keep: true });
        expect(await inventory.findStored(layer)).toMatchObject({ isKept: true });
        for (const gone of [child, layer]) await under.backend.removeLayer(gone);
        await under.backend.createLayer(layer, []);
        expect(await inventory.findStored(layer)).toMatchObject({ isKept: false });
      });

      it('puts nothing in the place of what is there, and keeps both', async () => {
        await inventory.trashLayer(layer, note);
        await under.backend.createLayer(layer, []);
        const [item] = await trashed(layer.home);
        await expect(inventory.restoreFromTrash(item?.name ?? '', { keep: false })).rejects.toMatchObject({ kind: 'mismatch' });
        await inventory.trashLayer(layer, note);
        expect(await trashed(layer.home)).toHaveLength(2);
        await inventory.restoreFromTrash(item?.name ?? '', { keep: false });
        await expectBytes(under.backend, [layer], model);
        expect(await trashed(layer.home)).toHaveLength(1);
      });

      it('forgets for good what is deleted from it, also twice', async () => {
        await inventory.trashLayer(layer, note);
        const [item] = await trashed(layer.home);
        await inventory.deleteFromTrash(item?.name ?? '');
        await inventory.deleteFromTrash(item?.name ?? '');
        expect(await trashed(layer.home)).toEqual([]);
        await expect(inventory.restoreFromTrash(item?.name ?? '', { keep: false })).rejects.toMatchObject({ kind: 'missing-layer' });
      });

      it.each(['../x', '..', '', 'a/b'])('has nothing called %j', async (bad) => {
        await expect(inventory.restoreFromTrash(bad, { keep: false })).rejects.toMatchObject({ kind: 'missing-layer' });
        await expect(inventory.deleteFromTrash(bad)).rejects.toMatchObject({ kind: 'missing-layer' });
        expect(await idsOf(layer.home)).toHaveLength(2);
      });

      it('loses nothing at any instant of a move', async () => {
        for (const point of under.crashPoints.trash) {
          armCrashPoint(point, 'fail');
          await expect(inventory.trashLayer(layer, note)).rejects.toThrow(point);
          // A process that looks now either finds it where it was, and moves it again, or finds it in the trash.
          if ((await inventory.findStored(layer)) !== undefined) expect(await inventory.trashLayer(layer, note)).toBe(true);
          const items = await trashed(layer.home);
          expect(items).toHaveLength(1);
          await inventory.restoreFromTrash(items[0]?.name ?? '', { keep: false });
          await expectBytes(under.backend, [layer], model);
        }
      });

      it('loses nothing at any instant of the way back', async () => {
        for (const point of under.crashPoints.restore) {
          await inventory.trashLayer(layer, note);
          const [item] = await trashed(layer.home);
          armCrashPoint(point, 'fail');
          await expect(inventory.restoreFromTrash(item?.name ?? '', { keep: true })).rejects.toThrow(point);
          await inventory.restoreFromTrash(item?.name ?? '', { keep: true });
          await expectBytes(under.backend, [layer], model);
          expect(await inventory.findStored(layer)).toMatchObject({ isKept: true });
          expect(await trashed(layer.home)).toEqual([]);
        }
      });

      it('says what a half-deleted item was, and does not give half of it back', async () => {
        for (const point of under.crashPoints.delete) {
          await inventory.trashLayer(child, note);
          const [item] = await trashed(layer.home);
          armCrashPoint(point, 'fail');
          await expect(inventory.deleteFromTrash(item?.name ?? '')).rejects.toThrow(point);
          expect((await trashed(layer.home))[0]).toMatchObject({ layer: nameOf(child), allocatedBytes: 0 });
          await expect(inventory.restoreFromTrash(item?.name ?? '', { keep: false })).rejects.toMatchObject({ kind: 'missing-layer' });
          await inventory.deleteFromTrash(item?.name ?? '');
          expect(await trashed(layer.home)).toEqual([]);
          await under.backend.createLayer(child, [layer]);
        }
      });
    });
  });
}

const byId = (one: { id: string }, other: { id: string }): number => one.id.localeCompare(other.id);
