/** Runs a history of steps on a world, and ends what the steps say in the middle of things. */
import { setTimeout as pause } from 'node:timers/promises';
import { checkWorld, clearWorld } from './checks.ts';
import { addTo } from './counts.ts';
import { DiskProcessDied, OrderFailed } from './disk-client.ts';
import { beginOperation, type Operation } from './operations.ts';
import type { SimpleStep, Step } from './steps.ts';
import type { World } from './world.ts';

export async function runHistory(world: World, steps: readonly Step[], onStep: (index: number) => void): Promise<void> {
  for (const [index, step] of steps.entries()) {
    onStep(index);
    await runStep(world, step);
    world.counts.steps += 1;
    addTo(world.counts.byStep, step.op);
  }
  onStep(steps.length);
  await checkWorld(world, { everything: true });
  await clearWorld(world);
  await world.disks.stop();
  world.counts.histories += 1;
}

async function runStep(world: World, step: Step): Promise<void> {
  switch (step.op) {
    case 'check':
      return await checkWorld(world, { everything: false });
    case 'restart':
      await world.disks.stop();
      return await world.startDisks();
    case 'together':
      return await runGroup(world, step.steps, async () => {});
    case 'cancel':
      return await cancel(world, step);
    case 'kill-service':
      return await killService(world, step);
    case 'kill-daemon':
      return await killDaemon(world, step);
    case 'kill-mover':
      return await killMover(world, step);
    default:
      return await runGroup(world, [step], async () => {});
  }
}

interface Outcome {
  readonly operation: Operation;
  readonly error: unknown;
}

async function runOperation(operation: Operation, signal: AbortSignal): Promise<void> {
  for (; operation.at < operation.parts.length; operation.at += 1) await operation.parts[operation.at]?.(signal);
  await operation.beside;
  await operation.done();
}

const never = new AbortController().signal;

/** Begins all, lets `meddle` do its work meanwhile, and waits for all: each has its end here, and none is rejected. */
async function begin(world: World, steps: readonly SimpleStep[], signal = never): Promise<{ ended: Promise<Outcome[]> }> {
  const operations: Operation[] = [];
  for (const step of steps) {
    const operation = await beginOperation(world, step);
    if (operation === undefined) continue;
    operations.push(operation);
    if (steps.length > 1) addTo(world.counts.byStep, step.op);
  }
  const ends = operations.map((operation) =>
    runOperation(operation, signal).then(
      () => ({ operation, error: undefined }),
      (error: unknown) => ({ operation, error }),
    ),
  );
  return { ended: Promise.all(ends) };
}

async function runGroup(world: World, steps: readonly SimpleStep[], meddle: () => Promise<void>): Promise<void> {
  const { ended } = await begin(world, steps);
  const [outcomes] = await Promise.all([ended, meddle()]);
  for (const { error } of outcomes) if (error !== undefined) throw error;
  endWindows(world);
}

/** A moment that was given up is never looked at. */
function endWindows(world: World): void {
  for (const volume of world.volumes.values()) volume.window = undefined;
}

async function cancel(world: World, step: Extract<Step, { op: 'cancel' }>): Promise<void> {
  const abort = new AbortController();
  const { ended } = await begin(world, step.steps, abort.signal);
  const timer = setTimeout(() => abort.abort(), step.afterMs);
  const outcomes = await ended;
  clearTimeout(timer);
  for (const { operation, error } of outcomes) {
    if (error === undefined) continue;
    if (!isCancelled(error)) throw error;
    await operation.beside;
    await operation.giveUp();
  }
  endWindows(world);
}

const isCancelled = (error: unknown): boolean =>
  error instanceof OrderFailed && (error.kind === 'aborted' || error.message.endsWith(': cancelled'));

/** Instants of what happens by itself a moment later are waited for a little. */
const patienceMs = 700;

async function killService(world: World, step: Extract<Step, { op: 'kill-service' }>): Promise<void> {
  if (step.at !== undefined) await world.disks.order('arm', step.at);
  const { ended } = await begin(world, step.steps);
  const killing = step.at === undefined ? pause(step.afterMs).then(() => world.disks.kill()) : undefined;
  const outcomes = await ended;
  await killing;
  if (step.at !== undefined) await Promise.race([world.disks.ended, pause(patienceMs)]);
  if (world.disks.isDead) {
    world.counts.kills.service += 1;
    if (step.at !== undefined) addTo(world.counts.points, step.at.point);
    await world.startDisks();
  } else {
    await world.disks.order('disarm', undefined);
  }
  await afterDeath(outcomes, step.resume);
  endWindows(world);
}

async function afterDeath(outcomes: readonly Outcome[], resume: boolean): Promise<void> {
  for (const { operation, error } of outcomes) {
    if (error === undefined) continue;
    if (!(error instanceof DiskProcessDied)) throw error;
    if (resume) await runOperation(operation, never);
    else {
      await operation.beside;
      await operation.giveUp();
    }
  }
}

async function killDaemon(world: World, step: Extract<Step, { op: 'kill-daemon' }>): Promise<void> {
  const volume = world.volumes.get(step.volume);
  await runGroup(world, step.steps, async () => {
    await pause(step.afterMs);
    if (volume === undefined) return;
    const row = await world.database.sql
      .selectFrom('volume_exports')
      .select('process_id')
      .where('volume_id', '=', volume.id)
      .executeTakeFirst();
    if (row === undefined || row.process_id === 0) return;
    volume.inDoubt = true;
    process.kill(row.process_id, 'SIGKILL');
    world.counts.kills.daemon += 1;
  });
  if (volume?.inDoubt !== true) return;
  await volume.client?.close();
  volume.lose();
}

async function killMover(world: World, step: Extract<Step, { op: 'kill-mover' }>): Promise<void> {
  await runGroup(world, step.steps, async () => {
    await pause(step.afterMs);
    if (await world.disks.killMover()) world.counts.kills.mover += 1;
  });
}
