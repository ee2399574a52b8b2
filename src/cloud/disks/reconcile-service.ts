/** Checks of the disks: what operators may ask for. */
import type { TrashedItem } from '../../engine/volumes/inventory-contract.ts';
import { conflict, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import type { Database } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import { type CheckInput, checkKind, checkSaga, checkStep } from './reconcile.job.ts';
import type { Reconciler } from './reconcile.ts';
import type { DiskReport } from './reconcile-report.ts';
import type { RestoredItem } from './reconcile-trash.ts';

export type { Reconciler } from './reconcile.ts';
export type { DiskReport, Finding } from './reconcile-report.ts';
export type { RestoredItem } from './reconcile-trash.ts';

export interface DiskChecks {
  /** Starts a check. Returns the id of its job. */
  begin(caller: Caller, order: CheckInput): Promise<string>;
  /** What a check that has ended found. */
  report(caller: Caller, jobId: string): Promise<DiskReport>;
  trash(caller: Caller): Promise<readonly TrashedItem[]>;
  /** Puts something back out of the trash: by its name there, or by the id of the layer that it was. */
  restore(caller: Caller, nameOrLayerId: string): Promise<RestoredItem>;
}

export interface DiskChecksDeps {
  readonly database: Database;
  readonly jobs: Pick<Jobs, 'define' | 'start' | 'get' | 'outputOf'>;
  readonly reconciler: Pick<Reconciler, 'check' | 'items' | 'restore'>;
}

/** Also defines the job, so it comes before `jobs.startWorking`. */
export function createDiskChecks({ database, jobs, reconciler }: DiskChecksDeps): DiskChecks {
  jobs.define(checkSaga(reconciler));
  const allow = (caller: Caller, action: Action): void => authorise(caller, action, { projectId: null });

  return {
    async begin(caller, input) {
      allow(caller, 'disk:check');
      // Disks belong to nobody; a check is a subject of its own.
      return await database.transact((tx) => jobs.start(tx, { kind: checkKind, subjectId: newId(), projectId: null, input }));
    },
    async report(caller, jobId) {
      allow(caller, 'disk:check');
      const job = isUuid(jobId) ? await jobs.get(jobId) : undefined;
      if (job?.kind !== checkKind) throw notFound(`No check of the disks has the id ${jobId}.`);
      if (job.status !== 'done') throw conflict(`Check ${jobId} has no report: it is ${job.status}.`);
      return (await jobs.outputOf(jobId, checkStep)) as unknown as DiskReport;
    },
    async trash(caller) {
      allow(caller, 'disk:check');
      return await reconciler.items();
    },
    async restore(caller, nameOrLayerId) {
      allow(caller, 'disk:restore');
      return await reconciler.restore(nameOrLayerId);
    },
  };
}
