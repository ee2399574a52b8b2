/**
 * Compares the rows with what is really there, in both directions, and puts right what is safe.
 *
 * A disk that is being worked on looks wrong at many instants, and none of them may be taken for damage. So whatever looks wrong is looked at three times:
 * in two looks at everything with a pause between them, and once more by itself, so closely that nothing in motion passes for it. Each kind
 * of thing says how (`reconcile-layers.ts`, `reconcile-servers.ts` …); this file puts them together.
 *
 * Nothing is ever deleted here but what has been in the trash for its time, and of that nothing that a row misses.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { VolumeBackend } from '../../engine/volumes/contract.ts';
import type { LayerInventory, StoredLayer, StrayObject, TrashedItem } from '../../engine/volumes/inventory-contract.ts';
import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import { createTurns } from '../../lib/turns.ts';
import type { Database } from '../database/service.ts';
import type { DisksService } from './contract.ts';
import { createVolumeLocks } from './locks.ts';
import { suspectDeeply } from './reconcile-deep.ts';
import type { DamagePort } from './reconcile-layer-repair.ts';
import { suspectLayers } from './reconcile-layers.ts';
import { suspectRecords } from './reconcile-records.ts';
import { type CheckOptions, type DiskReport, type Finding, type Suspicion, worstFirst } from './reconcile-report.ts';
import { loadLayers, loadServedVolumes } from './reconcile-rows.ts';
import { suspectServers } from './reconcile-servers.ts';
import { suspectStrays } from './reconcile-strays.ts';
import { emptyTrash, type RestoredItem, restoreFromTrash } from './reconcile-trash.ts';
import { suspectRecovered, suspectWork } from './reconcile-work.ts';

export interface ReconcilerDeps {
  readonly database: Database;
  readonly backend: Pick<VolumeBackend, 'inspectExport'>;
  readonly inventory: LayerInventory;
  readonly disks: Pick<DisksService, 'adoptExports' | 'closeExport' | 'tidy'>;
  readonly volumes: DamagePort;
  readonly clock: Clock;
  readonly log: Log;
  /** How long the trash keeps what it gets. */
  readonly trashDays: number;
  /** Between two looks: longer than what is in motion takes. */
  readonly settleMs?: number;
}

export interface Reconciler {
  /** One at a time. */
  check(options: CheckOptions): Promise<DiskReport>;
  trash(): Promise<{ count: number; bytes: number }>;
  items(): Promise<TrashedItem[]>;
  /** An item of the trash by its name, or by the id of the layer that it was. */
  restore(nameOrLayerId: string): Promise<RestoredItem>;
  /** At start: a first check beside everything else, with repairs; and from then on the emptying of the trash. */
  begin(): void;
  /** Gives up what it is doing. */
  stop(): Promise<void>;
}

/** Who asks: an operator, or the start of the service. */
interface Plan extends CheckOptions {
  readonly automatic: boolean;
}

interface Look {
  readonly suspicions: readonly Suspicion[];
  /** Made once: it costs too much for a second time, and each of its suspicions confirms itself by reading again. */
  readonly deep: readonly Suspicion[];
  readonly looked: DiskReport['looked'];
}

const defaultSettleMs = 1_000;
const findingsMax = 500;
const emptyTrashEveryMs = 6 * 60 * 60_000;

export function createReconciler(deps: ReconcilerDeps): Reconciler {
  const { database, inventory, clock, log } = deps;
  const parts = { ...deps, locks: createVolumeLocks(database), startedAt: clock.now() };
  const alone = createTurns<'check'>();
  const stopping = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let begun: Promise<void> | undefined;

  /** Processes and files first, rows after them: what was seen then has a row, or is gone by now. */
  async function look(plan: Plan): Promise<Look> {
    const servers = await suspectServers(parts, { graphs: !plan.automatic });
    const { layers, strays } = await listStored(inventory);
    const rows = await loadLayers(database.sql);
    const servedHomes = new Set((await loadServedVolumes(database.sql)).map(({ volumeId }) => volumeId));
    const deep = plan.deep ? await suspectDeeply(parts, rows, layers, plan) : { suspicions: [], count: 0 };
    plan.signal.throwIfAborted();
    return {
      suspicions: [
        ...servers.suspicions,
        ...suspectLayers(parts, rows, layers),
        ...suspectStrays(parts, strays, new Set(rows.map(({ id }) => id))),
        ...(await suspectRecords(database)),
        ...(await suspectWork(parts, rows, servedHomes)),
        ...(await suspectRecovered(parts)),
      ],
      deep: deep.suspicions,
      looked: { layerRows: rows.length, layerFiles: layers.length, servers: servers.count, deepLayers: deep.count },
    };
  }

  async function confirmed(plan: Plan): Promise<{ found: Suspicion[]; looked: Look['looked'] }> {
    const first = await look(plan);
    if (first.suspicions.length + first.deep.length === 0) return { found: [], looked: first.looked };
    await pause(deps.settleMs ?? defaultSettleMs, undefined, { signal: plan.signal });
    const second = await look({ ...plan, deep: false });
    const seen = new Set(first.suspicions.map(({ key }) => key));
    const found: Suspicion[] = [];
    for (const suspicion of [...second.suspicions.filter(({ key }) => seen.has(key)), ...first.deep]) {
      plan.signal.throwIfAborted();
      if (await suspicion.confirm()) found.push(suspicion);
    }
    return { found, looked: { ...second.looked, deepLayers: first.looked.deepLayers } };
  }

  async function settle(suspicion: Suspicion, plan: Plan): Promise<Finding> {
    // Told as it was before anything was done about it.
    const text = await suspicion.describe();
    const { kind, subject } = suspicion;
    try {
      const repair = plan.repair ? await suspicion.repair?.({ automatic: plan.automatic }) : undefined;
      return { kind, subject, ...text, done: repair?.done ?? null, isRepaired: repair?.isRepaired ?? false };
    } catch (error) {
      log.warn({ kind, subject, error: messageOf(error) }, 'a repair of disks failed');
      return { kind, subject, ...text, done: `Could not be repaired: ${messageOf(error)}`, isRepaired: false };
    }
  }

  async function check(plan: Plan): Promise<DiskReport> {
    const startedAt = performance.now();
    const { found, looked } = await confirmed(plan);
    const findings: Finding[] = [];
    let unlisted = 0;
    for (const suspicion of found) {
      plan.signal.throwIfAborted();
      const isListed = findings.length < findingsMax;
      const finding = isListed || plan.repair ? await settle(suspicion, plan) : undefined;
      if (isListed && finding !== undefined) findings.push(finding);
      else if (finding?.isRepaired !== true) unlisted += 1;
    }
    return {
      tookMs: Math.round(performance.now() - startedAt),
      looked,
      findings: worstFirst(findings),
      unlisted,
      trash: await trash(),
    };
  }

  async function trash(): Promise<{ count: number; bytes: number }> {
    const items = await inventory.listTrash();
    return { count: items.length, bytes: items.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0) };
  }

  async function firstCheck(): Promise<void> {
    const plan: Plan = { repair: true, deep: false, automatic: true, signal: stopping.signal };
    try {
      const report = await alone('check', () => check(plan));
      tell(log, report);
    } catch (error) {
      if (!stopping.signal.aborted) log.error({ error: messageOf(error) }, 'the disks could not be compared with the database');
    }
    await clearTrash();
  }

  async function clearTrash(): Promise<void> {
    if (stopping.signal.aborted) return;
    await alone('check', () => emptyTrash(parts)).catch((error: unknown) =>
      log.warn({ error: messageOf(error) }, 'the trash could not be emptied'),
    );
    if (stopping.signal.aborted) return;
    timer = setTimeout(() => void clearTrash(), emptyTrashEveryMs);
    timer.unref();
  }

  return {
    check: (options) =>
      alone('check', () => check({ ...options, automatic: false, signal: AbortSignal.any([options.signal, stopping.signal]) })),
    trash,
    items: () => inventory.listTrash(),
    // Not in turn: nobody who needs a layer back shall wait for a check that takes hours.
    restore: (nameOrLayerId) => restoreFromTrash(parts, nameOrLayerId),
    begin() {
      begun ??= firstCheck();
    },
    async stop() {
      stopping.abort(new Error('the service stops'));
      clearTimeout(timer);
      await begun;
      // Whatever was under way has heard the signal.
      await alone('check', async () => undefined);
    },
  };
}

async function listStored(inventory: LayerInventory): Promise<{ layers: StoredLayer[]; strays: StrayObject[] }> {
  const layers: StoredLayer[] = [];
  const strays: StrayObject[] = [];
  for await (const item of inventory.listStored()) {
    if (item.type === 'stray') strays.push(item);
    else if (isOurs(item.id) && isOurs(item.home)) layers.push(item);
    else strays.push({ ...item, name: inventory.placeOf(item), place: inventory.placeOf(item), kind: 'foreign', layer: undefined });
  }
  return { layers, strays };
}

/** As we write ids: no layer of ours is called otherwise, whatever its name looks like. */
const isOurs = (id: string): boolean => isUuid(id);

function tell(log: Log, { findings, looked, trash, tookMs, unlisted }: DiskReport): void {
  for (const { kind, subject, severity, detail, advice, commands, done, isRepaired } of findings) {
    const level = isRepaired || severity === 'notice' ? 'info' : severity === 'error' ? 'error' : 'warn';
    log[level](isRepaired ? { kind, subject, done } : { kind, subject, done, advice, commands }, detail);
  }
  const open = findings.filter(({ isRepaired }) => !isRepaired).length + unlisted;
  log.info({ ...looked, findings: findings.length + unlisted, open, trash, tookMs }, 'compared the disks with the database');
}
