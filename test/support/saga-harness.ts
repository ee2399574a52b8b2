/**
 * The proof that every saga owes, whatever it does: it runs each step twice, fails it at every marked instant, cancels it before every
 * step, makes every undo fail the first time, and asks after each run whether what must hold does hold.
 *
 * The instants are not listed by hand: a first run records them (the runner marks the start and the end of each step and both sides of
 * each effect; the engine marks more inside).
 */

import type { SagaDefinition, SagaStep } from '../../src/cloud/jobs/saga.ts';
import { type Jobs, type JobsOptions, openJobs as openRealJobs, type SagaStatus } from '../../src/cloud/jobs/service.ts';
import { armCrashPoint, disarmCrashPoints, recordCrashPoints } from '../../src/lib/crash-points.ts';

export interface SagaFixture {
  /** A working service, from the `openJobs` that the harness hands in, with the sagas defined. */
  readonly jobs: Jobs;
  /** Orders the saga as the product does, and commits. */
  order(): Promise<{ readonly sagaId: string }>;
  /** Throws when something does not hold that must hold after a saga ended like this. */
  check(status: SagaStatus): Promise<void>;
  close(): Promise<void>;
}

/** Makes everything anew: a database, the services, what the saga works on. */
export type MakeFixture = (tools: { openJobs: typeof openRealJobs }) => Promise<SagaFixture>;

export interface SagaProof {
  readonly kind: string;
  readonly make: MakeFixture;
  /** The saga works with others' marks in them that are not its own business. */
  readonly ignorePoint?: (name: string) => boolean;
}

/** `cancel` asks for the end of a running saga, as a user would. */
type Change = (definition: SagaDefinition, cancel: (sagaId: string) => Promise<void>) => SagaDefinition;

const endsWithinMs = 20_000;

/** Runs all of it and returns the names of the runs, for a test to show. Throws with the name of the run that broke something. */
export async function proveSaga(proof: SagaProof): Promise<string[]> {
  const runs: string[] = [];
  const run = async (name: string, expected: readonly SagaStatus[], prepare: Prepare): Promise<string[]> => {
    runs.push(name);
    try {
      return await runOnce(proof, expected, prepare);
    } catch (error) {
      throw new Error(`${proof.kind}, ${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  };

  const points = (await run('undisturbed', ['done'], {})).filter((point) => proof.ignorePoint?.(point) !== true);
  await run('every step twice', ['done'], { change: twice });
  for (const point of points) {
    // A mark of the engine may lie in work that copes with a failure.
    const expected: SagaStatus[] = point.startsWith(`${proof.kind}:`) ? ['failed'] : ['failed', 'done'];
    await run(`fails at ${point}`, expected, { failAt: point, change: twice });
  }
  const lastPoint = points.findLast((point) => point.startsWith(`${proof.kind}:`) && point.endsWith(':done'));
  await run('every undo fails at first', ['failed'], { ...(lastPoint === undefined ? {} : { failAt: lastPoint }), change: undoFailsOnce });
  for (const step of await stepNames(proof)) {
    await run(`cancelled before ${step}`, ['cancelled', 'done'], {
      change: (definition, cancel) => cancelBefore(definition, step, cancel),
    });
  }
  return runs;
}

interface Prepare {
  readonly failAt?: string;
  readonly change?: Change;
}

async function runOnce(proof: SagaProof, expected: readonly SagaStatus[], prepare: Prepare): Promise<string[]> {
  const fixture = await proof.make({ openJobs: (options) => openChanged(proof.kind, options, prepare.change) });
  const recording = recordCrashPoints();
  try {
    if (prepare.failAt !== undefined) armCrashPoint(prepare.failAt, 'fail');
    const { sagaId } = await fixture.order();
    const status = await fixture.jobs.settled(sagaId, { timeoutMs: endsWithinMs });
    disarmCrashPoints();
    if (!expected.includes(status)) throw new Error(`ended as ${status}, not as ${expected.join(' or ')}`);
    await fixture.check(status);
    return recording.stop();
  } finally {
    disarmCrashPoints();
    recording.stop();
    await fixture.close();
  }
}

/** The real service; the saga in question is changed when it is defined, all others stay as they are. */
async function openChanged(kind: string, options: JobsOptions, change: Change | undefined): Promise<Jobs> {
  const jobs = await openRealJobs(options);
  const cancel = (sagaId: string): Promise<void> => cancelSaga(jobs, options, sagaId);
  return {
    ...jobs,
    define(definition) {
      // The definition is handed on with the same input type; only the harness sees it without.
      if (definition.kind !== kind || change === undefined) jobs.define(definition);
      else jobs.define(change(definition as unknown as SagaDefinition, cancel));
    },
  };
}

function changeSteps(definition: SagaDefinition, change: (step: SagaStep) => SagaStep): SagaDefinition {
  return { ...definition, steps: definition.steps.map(change) };
}

const twice: Change = (definition) => ({
  ...changeSteps(definition, (step) => ({
    ...step,
    async run(context) {
      await step.run(context);
      return step.run(context);
    },
    undo: undoOf(step, async (undo, context) => {
      await undo(context);
      await undo(context);
    }),
  })),
  async settle(context, failure) {
    await definition.settle(context, failure);
    await definition.settle(context, failure);
  },
});

const undoFailsOnce: Change = (definition) => {
  const failed = new Set<string>();
  const failFirst = (name: string): void => {
    if (failed.has(name)) return;
    failed.add(name);
    throw new Error(`the harness makes "${name}" fail once`);
  };
  return {
    ...changeSteps(definition, (step) => ({
      ...step,
      undo: undoOf(step, async (undo, context) => {
        await undo(context);
        failFirst(step.name);
      }),
    })),
    async settle(context, failure) {
      await definition.settle(context, failure);
      failFirst('settle');
    },
  };
};

function undoOf(
  step: SagaStep,
  wrap: (undo: (context: Parameters<SagaStep['run']>[0]) => Promise<void>, context: Parameters<SagaStep['run']>[0]) => Promise<void>,
): SagaStep['undo'] {
  const { undo } = step;
  return typeof undo === 'function' ? (context) => wrap(undo, context) : undo;
}

function cancelBefore(definition: SagaDefinition, stepName: string, cancel: (sagaId: string) => Promise<void>): SagaDefinition {
  return changeSteps(definition, (step) => {
    if (step.name !== stepName) return step;
    return {
      ...step,
      async run(context) {
        await cancel(context.sagaId);
        return step.run(context);
      },
    };
  });
}

async function cancelSaga(jobs: Jobs, options: JobsOptions, sagaId: string): Promise<void> {
  await options.database.transact(async (tx) => {
    const { subject_id } = await tx.sql.selectFrom('sagas').select('subject_id').where('id', '=', sagaId).executeTakeFirstOrThrow();
    await jobs.requestCancel(tx, subject_id);
  });
}

async function stepNames(proof: SagaProof): Promise<string[]> {
  const names: string[] = [];
  const note: Change = (definition) => {
    names.push(...definition.steps.map((step) => step.name));
    return definition;
  };
  const fixture = await proof.make({ openJobs: (options) => openChanged(proof.kind, options, note) });
  await fixture.close();
  return names;
}
