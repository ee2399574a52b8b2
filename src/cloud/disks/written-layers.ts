/**
 * Frozen layers that somebody else writes, with their points: bases of images and restores, and overlays of restores.
 *
 * Without a lock, for it may take hours: nobody but the caller knows the layer, and its hold on the point keeps `tidy` away. Should the hold be
 * gone at the end, so may be the file, and the layer is refused.
 *
 * Order: rows of layer (`planned`) and point, with its hold → the file, by the caller → durable, and compared with what the caller says of it →
 * rows: the layer is `frozen`, and the point's journal is what was written.
 */
import type { DiskSource, LayerTarget } from '../../engine/disk/contract.ts';
import { ExtentSet } from '../../engine/disk/extent-set.ts';
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import { crashPoint } from '../../lib/crash-points.ts';
import type { Database } from '../database/service.ts';
import { findLayer, type LayerRow, layerOf, moveLayer, planLayer } from './layer-store.ts';
import { findPoint, planPoint, setJournal } from './point-store.ts';

export interface WrittenLayersDeps {
  readonly backend: VolumeBackend;
  readonly database: Database;
  /** The chain of a held point, once no merge works on it. */
  readonly heldChain: (pointId: string) => Promise<LayerRow[]>;
}

export interface BasePlan {
  readonly layerId: string;
  readonly pointId: string;
  readonly home: string;
  readonly sizeBytes: number;
  readonly holder: string;
}

export interface OverlayPlan extends BasePlan {
  readonly belowPointId: string;
}

export async function createBase(
  deps: WrittenLayersDeps,
  plan: BasePlan,
  write: (target: LayerTarget) => Promise<ExtentSet>,
): Promise<void> {
  if (await isMade(deps, plan)) return;
  await createWritten(deps, plan, { name: 'base', format: 'raw', below: [], parentId: null }, write);
}

export async function createOverlay(
  deps: WrittenLayersDeps,
  plan: OverlayPlan,
  write: (target: LayerTarget, source: DiskSource) => Promise<ExtentSet>,
): Promise<void> {
  if (await isMade(deps, plan)) return;
  const below = await deps.heldChain(plan.belowPointId);
  await createWritten(deps, plan, { name: 'overlay', format: 'qcow2', below, parentId: plan.belowPointId }, async (target) =>
    write(target, await deps.backend.source(below.map(layerOf))),
  );
}

async function isMade({ database }: WrittenLayersDeps, plan: BasePlan): Promise<boolean> {
  return (await findLayer(database.sql, plan.layerId))?.state === 'frozen';
}

interface Place {
  /** In crash points and messages. */
  readonly name: 'base' | 'overlay';
  readonly format: 'raw' | 'qcow2';
  /** The chain that the layer stands on. */
  readonly below: readonly LayerRow[];
  /** The point that the new one's journal counts from. */
  readonly parentId: string | null;
}

async function createWritten(
  { backend, database }: WrittenLayersDeps,
  { layerId, pointId, home, sizeBytes, holder }: BasePlan,
  { name, format, below, parentId }: Place,
  write: (target: LayerTarget) => Promise<ExtentSet>,
): Promise<void> {
  const layer = { id: layerId, home, format, sizeBytes };
  const chain = below.map(layerOf);
  // A smaller layer hides the end of what is below it.
  const hidden = ExtentSet.of([[sizeBytes, Math.max(sizeBytes, ...chain.map((lower) => lower.sizeBytes))]]);
  await database.sql.transaction().execute(async (tx) => {
    await planLayer(tx, layer, below.at(-1)?.id ?? null);
    await planPoint(tx, { id: pointId, parentId, layerId, sizeBytes, holder });
  });
  crashPoint(`${name}:planned`);
  const target = await backend.prepareLayer(layer, chain);
  const givenUp = (cause?: unknown) => new Error(`${name} ${layerId} was given up while it was written`, { cause });
  let written: ExtentSet;
  try {
    written = await write(target);
    crashPoint(`${name}:written`);
    await backend.sealLayer(layer, chain, written);
  } catch (error) {
    // Its file may have been cleared away under the writer, who then fails in any way.
    throw (await findPoint(database.sql, pointId))?.held === true ? error : givenUp(error);
  }
  crashPoint(`${name}:sealed`);
  await database.sql.transaction().execute(async (tx) => {
    const point = await findPoint(tx, pointId);
    if (point?.held !== true || !(await moveLayer(tx, layerId, ['planned'], 'frozen'))) throw givenUp();
    await setJournal(tx, pointId, parentId, written.union(hidden));
  });
}
