/** Reads the structures inside of layers, which takes as long as reading them from the disk: hence a sample where there are many. */
import { randomInt } from 'node:crypto';
import { VolumeBackendError } from '../../engine/volumes/errors.ts';
import type { LayerCheck, LayerInventory, StoredLayer } from '../../engine/volumes/inventory-contract.ts';
import type { Sql } from './locks.ts';
import { type LayerRepairDeps, markVolumes } from './reconcile-layer-repair.ts';
import type { LayerFacts } from './reconcile-layer-rules.ts';
import { damagedText, sizeText, type TextDeps } from './reconcile-layer-texts.ts';
import type { CheckOptions, Suspicion } from './reconcile-report.ts';
import { loadNeighbours } from './reconcile-rows.ts';

export interface DeepDeps extends LayerRepairDeps, TextDeps {}

const sampleMax = 100;

export async function suspectDeeply(
  deps: DeepDeps,
  rows: readonly LayerFacts[],
  files: readonly StoredLayer[],
  { signal, onProgress }: Pick<CheckOptions, 'signal' | 'onProgress'>,
): Promise<{ suspicions: Suspicion[]; count: number }> {
  const byId = new Map(rows.map((row) => [row.id, row]));
  const sample = chooseFrom(files.filter((file) => file.damage === undefined && file.openMark !== 'live' && byId.has(file.id)));
  const totalBytes = sample.reduce((sum, file) => sum + file.allocatedBytes, 0);
  const suspicions: Suspicion[] = [];
  let doneBytes = 0;
  let count = 0;
  for (const file of sample) {
    const row = byId.get(file.id);
    const check = row === undefined ? undefined : await closeCheck(deps, deps.database.sql, row, signal);
    if (row !== undefined && check !== undefined) {
      count += 1;
      if (check.damage !== undefined) suspicions.push(damaged(deps, row, check.damage, signal));
      else if (check.leakedBytes > 0) suspicions.push(leaking(deps, row, check.leakedBytes, signal));
    }
    doneBytes += file.allocatedBytes;
    onProgress?.(doneBytes, totalBytes);
  }
  return { suspicions, count };
}

/** Any of them, in any order: what was left out this time may come next time. */
function chooseFrom(files: readonly StoredLayer[]): StoredLayer[] {
  const left = [...files];
  const chosen: StoredLayer[] = [];
  while (left.length > 0 && chosen.length < sampleMax) chosen.push(...left.splice(randomInt(left.length), 1));
  return chosen;
}

/** Undefined: somebody writes to it, or it has changed meanwhile, or it is gone. */
async function closeCheck(
  { inventory }: { inventory: LayerInventory },
  sql: Sql,
  { id }: LayerFacts,
  signal: AbortSignal,
): Promise<LayerCheck | undefined> {
  const before = await loadNeighbours(sql, id);
  const row = before.find((layer) => layer.id === id);
  if (row === undefined || !isAtRest(row, before)) return undefined;
  try {
    const check = await inventory.checkLayer(row, { signal });
    const after = await loadNeighbours(sql, id);
    return before.map(({ version }) => version).join() === after.map(({ version }) => version).join() ? check : undefined;
  } catch (error) {
    if (error instanceof VolumeBackendError && (error.kind === 'busy' || error.kind === 'missing-layer')) return undefined;
    throw error;
  }
}

const isAtRest = (row: LayerFacts, around: readonly LayerFacts[]): boolean =>
  (row.state === 'top' || row.state === 'frozen') && !around.some((layer) => layer.parentId === row.id && layer.state === 'merging');

function damaged(deps: DeepDeps, row: LayerFacts, damage: string, signal: AbortSignal): Suspicion {
  return {
    key: `layer-damaged:${row.id}`,
    kind: 'layer-damaged',
    subject: row.id,
    confirm: async () => (await closeCheck(deps, deps.database.sql, row, signal))?.damage !== undefined,
    describe: () => damagedText(deps, row, damage),
    repair: () => markVolumes(deps, row.id, `layer ${row.id} is damaged: ${damage}`),
  };
}

function leaking(deps: DeepDeps, row: LayerFacts, leakedBytes: number, signal: AbortSignal): Suspicion {
  const stillLeaks = async (sql: Sql): Promise<boolean> => ((await closeCheck(deps, sql, row, signal))?.leakedBytes ?? 0) > 0;
  return {
    key: `space-leaked:${row.id}`,
    kind: 'space-leaked',
    subject: row.id,
    confirm: () => stillLeaks(deps.database.sql),
    describe: async () => ({
      severity: 'notice',
      detail: `${deps.inventory.placeOf(row)} takes ${sizeText(leakedBytes)} that it does not use. Its data is whole.`,
      advice: 'A repair gives the space back.',
      commands: ['stillpoint doctor --disks --deep --repair'],
      affected: [],
    }),
    repair: () =>
      deps.locks.tryWithVolume(row.home, async (sql) => {
        if (!(await stillLeaks(sql))) return undefined;
        await deps.inventory.repairLayer(row);
        return { done: 'Repaired: the space that it did not use is free again.', isRepaired: true };
      }),
  };
}
