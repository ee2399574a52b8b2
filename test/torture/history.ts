/** Runs a history of steps on a stage, and ends what the steps say in the middle of things. */
import { setTimeout as pause } from 'node:timers/promises';
import { addTo } from './counts.ts';
import type { Operation, Stage } from './stage.ts';
import type { SimpleStep, Step } from './steps.ts';

export interface HistoryOptions {
  readonly onStep: (index: number) => void;
  /** Without it the run ends with the last step, for a history that is known to fail before its end. */
  readonly toTheEnd: boolean;
}

export async function runHistory(stage: Stage, steps: readonly Step[], { onStep, toTheEnd }: HistoryOptions): Promise<void> {
  for (const [index, step] of steps.entries()) {
    onStep(index);
    const startedAt = performance.now();
    await runStep(stage, step);
    addTo(stage.counts.msByStep, step.op, performance.now() - startedAt);
    stage.counts.steps += 1;
    addTo(stage.counts.byStep, step.op);
  }
  if (!toTheEnd) return;
  onStep(steps.length);
  const startedAt = performance.now();
  await stage.check({ everything: true });
  await stage.clear();
  addTo(stage.counts.msByStep, 'end', performance.now() - startedAt);
  stage.counts.histories += 1;
}

async function runStep(stage: Stage, step: Step): Promise<void> {
  switch (step.op) {
    case 'check':
      return await stage.check({ everything: false });
    case 'restart':
      return await stage.restart();
    case 'together':
      return await runGroup(stage, step.steps, async () => {});
    case 'cancel':
      return await cancel(stage, step);
    case 'kill-service':
      return await killService(stage, step);
    case 'kill-daemon':
      return await killDaemon(stage, step);
    case 'kill-mover':
      return await killMover(stage, step);
    default:
      return await runGroup(stage, [step], async () => {});
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
async function begin(stage: Stage, steps: readonly SimpleStep[], signal = never): Promise<{ ended: Promise<Outcome[]> }> {
  const operations: Operation[] = [];
  for (const step of steps) {
    const made = await stage.begin(step);
    if (made === undefined) continue;
    made.beside?.catch(() => undefined);
    operations.push({ step, at: 0, beside: undefined, ...made });
    if (steps.length > 1) addTo(stage.counts.byStep, step.op);
  }
  const ends = operations.map((operation) =>
    runOperation(operation, signal).then(
      () => ({ operation, error: undefined }),
      (error: unknown) => ({ operation, error }),
    ),
  );
  return { ended: Promise.all(ends) };
}

async function runGroup(stage: Stage, steps: readonly SimpleStep[], meddle: () => Promise<void>): Promise<void> {
  const { ended } = await begin(stage, steps);
  const [outcomes] = await Promise.all([ended, meddle()]);
  for (const { error } of outcomes) if (error !== undefined) throw error;
  endWindows(stage);
}

/** A moment that was given up is never looked at. */
function endWindows(stage: Stage): void {
  for (const volume of stage.volumes.values()) volume.window = undefined;
}

async function cancel(stage: Stage, step: Extract<Step, { op: 'cancel' }>): Promise<void> {
  const abort = new AbortController();
  const { ended } = await begin(stage, step.steps, abort.signal);
  const timer = setTimeout(() => abort.abort(), step.afterMs);
  const outcomes = await ended;
  clearTimeout(timer);
  for (const { operation, error } of outcomes) {
    if (error === undefined) continue;
    if (!stage.isCancellation(error)) throw error;
    await operation.beside;
    await operation.giveUp();
  }
  endWindows(stage);
}

async function killService(stage: Stage, step: Extract<Step, { op: 'kill-service' }>): Promise<void> {
  if (step.at !== undefined) await stage.arm(step.at);
  const { ended } = await begin(stage, step.steps);
  const killing = step.at === undefined ? pause(step.afterMs).then(() => stage.kill()) : undefined;
  const outcomes = await ended;
  await killing;
  if (stage.isDead() || (await stage.diesSoon())) {
    stage.counts.kills.service += 1;
    if (step.at !== undefined) addTo(stage.counts.points, step.at.point);
    await stage.revive();
  } else {
    await stage.disarm();
  }
  for (const { operation, error } of outcomes) {
    if (error !== undefined) await afterDeath(stage, operation, error, step.resume);
  }
  endWindows(stage);
}

async function afterDeath(stage: Stage, operation: Operation, error: unknown, resume: boolean): Promise<void> {
  if (!stage.isDeath(error)) throw error;
  if (resume && stage.canResume) return await runOperation(operation, never);
  await operation.beside;
  await operation.giveUp();
}

async function killDaemon(stage: Stage, step: Extract<Step, { op: 'kill-daemon' }>): Promise<void> {
  const volume = stage.volumes.get(step.volume);
  await runGroup(stage, step.steps, async () => {
    await pause(step.afterMs);
    if (volume === undefined) return;
    const server = await stage.serverOf(volume);
    if (server === undefined) return;
    volume.inDoubt = true;
    process.kill(server, 'SIGKILL');
    stage.counts.kills.daemon += 1;
  });
  if (volume?.inDoubt !== true) return;
  await volume.client?.close();
  volume.lose();
}

async function killMover(stage: Stage, step: Extract<Step, { op: 'kill-mover' }>): Promise<void> {
  await runGroup(stage, step.steps, async () => {
    await pause(step.afterMs);
    if (await stage.killMover()) stage.counts.kills.mover += 1;
  });
}
