/**
 * Work that a dead process left: housekeeping finishes it, so it is only told when housekeeping cannot. And volumes that were put into error because a layer
 * was missing, and whose layers are all there again: only an operator knows whether they are still the right ones.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { LayerInventory } from '../../engine/volumes/inventory-contract.ts';
import type { Database } from '../database/service.ts';
import type { DisksService, Tidied } from './contract.ts';
import { chainOf } from './layer-store.ts';
import type { Sql, VolumeLocks } from './locks.ts';
import type { LayerFacts } from './reconcile-layer-rules.ts';
import { labelOf } from './reconcile-layer-texts.ts';
import type { Suspicion } from './reconcile-report.ts';
import { loadNeighbours } from './reconcile-rows.ts';
import { loadTidyLayers, planTidy } from './tidy.ts';

export interface WorkDeps {
  readonly database: Database;
  readonly inventory: LayerInventory;
  readonly locks: VolumeLocks;
  readonly disks: Pick<DisksService, 'tidy'>;
}

const states = { planned: 'is being made', merging: 'is being merged', doomed: 'is being removed' } as const;
type Moving = keyof typeof states;
const isMoving = (state: string): state is Moving => Object.hasOwn(states, state);

/** Merging may take hours. What is still being worked on after this is no leftover. */
const housekeepingWaitMs = 30_000;

/** `servedHomes`: what is left around a disk that is being served waits for the end of its server. */
export async function suspectWork(deps: WorkDeps, rows: readonly LayerFacts[], servedHomes: ReadonlySet<string>): Promise<Suspicion[]> {
  if (!rows.some((row) => isMoving(row.state))) return [];
  const { remove, examine, merge } = planTidy(await loadTidyLayers(deps.database.sql));
  const mine = new Set([...remove, ...examine.filter((layer) => !layer.named), ...merge.map(({ younger }) => younger)].map(({ id }) => id));
  let tidied: Promise<Tidied | undefined> | undefined;
  // Once for all of them.
  const hadItsChance = async (id: string): Promise<boolean> => {
    tidied ??= letHousekeepingRun(deps);
    return (await tidied)?.left.has(id) === false;
  };
  return rows.filter((row) => mine.has(row.id) && !servedHomes.has(row.home)).flatMap((row) => suspect(deps, row, hadItsChance));
}

/** Undefined: it is still at work. */
async function letHousekeepingRun({ locks, disks }: WorkDeps): Promise<Tidied | undefined> {
  if ((await locks.tryTidy(async () => true)) !== true) return undefined;
  return await Promise.race([disks.tidy(), pause(housekeepingWaitMs, undefined)]);
}

function suspect(
  { database, locks }: WorkDeps,
  { id, home, state }: LayerFacts,
  hadItsChance: (id: string) => Promise<boolean>,
): Suspicion[] {
  if (!isMoving(state)) return [];
  // By its state: each attempt of housekeeping writes the row again.
  const isUnfinished = async (sql: Sql): Promise<boolean> =>
    (await loadNeighbours(sql, id)).some((now) => now.id === id && now.state === state);
  return [
    {
      key: `work-unfinished:${id}`,
      kind: 'work-unfinished',
      subject: id,
      async confirm() {
        if (!(await isUnfinished(database.sql)) || !(await hadItsChance(id))) return false;
        return (await locks.tryWithVolume(home, isUnfinished)) === true;
      },
      describe: async () => ({
        severity: 'warning',
        detail: `Layer ${id} ${states[state]}, and housekeeping cannot finish that.`,
        advice:
          "The service's log says why (look for 'a layer cannot be removed yet' and 'a layer could not be merged'). No data is in danger.",
        commands: [],
        affected: [],
      }),
    },
  ];
}

export async function suspectRecovered({ database, inventory }: WorkDeps): Promise<Suspicion[]> {
  const volumes = await database.sql
    .selectFrom('volumes')
    .select(['id', 'name', 'top_layer_id as topLayerId', 'status_reason as reason'])
    .where('status', '=', 'error')
    .where('status_reason', 'is not', null)
    .execute();
  const found: Suspicion[] = [];
  for (const { id, name, topLayerId, reason } of volumes) {
    if (topLayerId === null) continue;
    const files = await Promise.all((await chainOf(database.sql, topLayerId)).map((layer) => inventory.findStored(layer)));
    if (files.some((file) => file === undefined || file.damage !== undefined)) continue;
    found.push({
      key: `volume-recovered:${id}`,
      kind: 'volume-recovered',
      subject: id,
      confirm: async () => true,
      describe: async () => ({
        severity: 'notice',
        detail: `${labelOf('volume', { id, name })} is in status error (${reason}), and all its layers are there again.`,
        advice: 'If they are the right ones, set its status.',
        commands: [`openstack volume set --state available ${id}`],
        affected: [{ type: 'volume', id, name }],
      }),
    });
  }
  return found;
}
