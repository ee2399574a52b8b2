/** Compares parts of a disk with a map, in worker threads: hands out leaves in ascending order and puts what they find together. */
import { ExtentSet } from '../disk/extent-set.ts';
import { type DiskMap, isHole, type NodeReference } from '../repository/disk-map.ts';
import { CHUNK_BYTES, FAN_OUT, LEAF_BYTES } from '../repository/format.ts';
import { LeafFinder, UnreadableNode } from '../repository/leaf-finder.ts';
import { type ChunkMask, countChunks, stretchesOf } from './chunk-mask.ts';
import type { MoverCallOptions } from './contract.ts';
import { damageOf } from './damage.ts';
import { accessOf } from './domain-access.ts';
import { type LeafPlan, leavesOf } from './leaf-plan.ts';
import type { OntoWork } from './onto-work.ts';
import type { OpenBackup } from './open-backup.ts';
import { workersFor } from './restore-progress.ts';
import { runTasks, withJob } from './run-tasks.ts';
import type { CompareLeafResult, CompareLeafTask, CompareTask, Damage, NodePlace } from './worker-protocol.ts';

/** Ends a comparison that cannot go on: what the disk was known to be, or the disk itself, cannot be read. */
export class CompareStopped extends Error {
  readonly unreadable: 'known' | 'disk';

  constructor(unreadable: 'known' | 'disk', message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CompareStopped';
    this.unreadable = unreadable;
  }
}

/** All in whole chunks. */
export interface ComparePlan {
  /** What the disk was known to be: in the leaves of `scope`, chunks in which it differs from the wanted map are compared. */
  readonly known?: DiskMap;
  /** Compared in any case. */
  readonly changed: ExtentSet;
  /** The leaves that are looked at. Holds `changed`. */
  readonly scope: ExtentSet;
  /** What the disk may hold. The rest of it counts as zeroes, unread. */
  readonly allocated: ExtentSet;
}

/** All in whole chunks. */
export interface Differences {
  readonly write: ExtentSet;
  readonly zero: ExtentSet;
  /** What was read of the disk. */
  readonly comparedBytes: number;
  /** What counts as done in reports of progress. */
  readonly passedBytes: number;
  /** What is wanted and cannot be read, as far as it was noticed. */
  readonly damages: readonly Damage[];
}

const TASK_LEAVES_MAX = 16;

/** Throws `CompareStopped`. */
export async function compareDisk(work: OntoWork, backup: OpenBackup, plan: ComparePlan): Promise<Differences> {
  const { pool, repository, keys, order, options } = work;
  const collector = new Collector(options, backup.commit.map.sizeBytes, plan.scope.intersect(plan.allocated).totalBytes);
  const { toCompareBytes } = collector;
  const context = {
    kind: 'compare',
    access: accessOf(order.repository.store, repository, keys),
    current: order.current,
    expectedBytes: toCompareBytes,
    sizeBytes: backup.commit.map.sizeBytes,
  } as const;
  await withJob(pool, context, workersFor(toCompareBytes), (job) =>
    runTasks<CompareTask, CompareLeafResult[]>(job, tasksOf(backup, plan, collector), options.signal, (results, task) => {
      for (const [i, result] of results.entries()) collector.note(task[i] as CompareLeafTask, result);
    }),
  );
  return collector.differences();
}

async function* tasksOf(backup: OpenBackup, plan: ComparePlan, collector: Collector): AsyncGenerator<CompareTask, void, undefined> {
  const { nodes } = backup.tools;
  const wanted = new LeafFinder(nodes, backup.commit.map);
  const known = plan.known && new LeafFinder(nodes, plan.known);
  let task: CompareLeafTask[] = [];
  let chunks = 0;
  for (const leaf of leavesOf({ changed: plan.scope, read: plan.changed, readBytes: 0, allocated: plan.allocated })) {
    const next = await taskOf(leaf, wanted, known, collector);
    if (next === undefined) continue;
    task.push(next);
    chunks += countChunks(next.allocated);
    if (chunks < FAN_OUT && task.length < TASK_LEAVES_MAX) continue;
    yield task;
    task = [];
    chunks = 0;
  }
  if (task.length > 0) yield task;
}

/** Undefined: there is nothing to do in this leaf, or nothing can be done. */
async function taskOf(
  { leafIndex, read: changed, allocated }: LeafPlan,
  wanted: LeafFinder,
  known: LeafFinder | undefined,
  collector: Collector,
): Promise<CompareLeafTask | undefined> {
  let leaf: NodeReference;
  try {
    leaf = await wanted.leafAt(leafIndex);
  } catch (error) {
    if (!(error instanceof UnreadableNode)) throw error;
    collector.noteDamage(error);
    return undefined;
  }
  if (isHole(leaf) && countChunks(allocated) === 0) return undefined;
  const before = await knownLeaf(known, leafIndex);
  const task = { leafIndex, changed, allocated, ...(isHole(leaf) ? {} : { wanted: placeOf(leaf) }) };
  if (before === undefined || before.id.equals(leaf.id)) return task;
  return { ...task, known: isHole(before) ? 'hole' : placeOf(before) };
}

async function knownLeaf(known: LeafFinder | undefined, leafIndex: number): Promise<NodeReference | undefined> {
  try {
    return await known?.leafAt(leafIndex);
  } catch (error) {
    if (!(error instanceof UnreadableNode)) throw error;
    throw new CompareStopped('known', error.message, { cause: error.cause });
  }
}

function placeOf({ id, address }: NodeReference): NodePlace {
  if (address === undefined) throw new Error('a hole has no place');
  return { id: new Uint8Array(id), address };
}

class Collector {
  readonly toCompareBytes: number;
  readonly #options: MoverCallOptions;
  readonly #backupBytes: number;
  readonly #write = ExtentSet.builder();
  readonly #zero = ExtentSet.builder();
  readonly #damages: Damage[] = [];
  readonly #lostNodes = new Set<UnreadableNode>();
  #comparedBytes = 0;
  /** Of what is to be compared, whether or not it had to be read. */
  #passedBytes = 0;
  #writeBytes = 0;

  constructor(options: MoverCallOptions, backupBytes: number, toCompareBytes: number) {
    this.#options = options;
    this.#backupBytes = backupBytes;
    this.toCompareBytes = toCompareBytes;
  }

  note({ leafIndex, allocated }: CompareLeafTask, result: CompareLeafResult): void {
    if (result.kind === 'unreadable') throw new CompareStopped('disk', result.message);
    if (result.kind === 'unknown') throw new CompareStopped('known', result.message);
    this.#passedBytes += countChunks(allocated) * CHUNK_BYTES;
    if (result.kind === 'damaged') {
      this.#damages.push(result.damage);
      return;
    }
    addTo(this.#write, leafIndex, result.write);
    addTo(this.#zero, leafIndex, result.zero);
    this.#comparedBytes += result.readBytes;
    this.#writeBytes += countChunks(result.write) * CHUNK_BYTES;
    this.#options.onProgress?.(this.#passedBytes, this.toCompareBytes + this.#writeBytes);
  }

  /** One node may describe many leaves. */
  noteDamage(node: UnreadableNode): void {
    if (this.#lostNodes.has(node)) return;
    this.#lostNodes.add(node);
    this.#damages.push(damageOf(node.cause, node.offsetBytes, node.lengthBytes, this.#backupBytes));
  }

  differences(): Differences {
    const [write, zero] = [this.#write.build(), this.#zero.build()];
    return { write, zero, comparedBytes: this.#comparedBytes, passedBytes: this.#passedBytes, damages: this.#damages };
  }
}

function addTo(set: ReturnType<typeof ExtentSet.builder>, leafIndex: number, mask: ChunkMask): void {
  const start = leafIndex * LEAF_BYTES;
  for (const [from, to] of stretchesOf(mask, FAN_OUT)) set.add(start + from * CHUNK_BYTES, start + to * CHUNK_BYTES);
}
