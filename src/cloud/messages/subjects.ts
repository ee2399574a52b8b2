/** Which failed job is told to the user, as what: by the kind of its saga and the step that failed. */
import type { SagaFailure } from '../jobs/saga.ts';
import type { ActionName, DetailName, MessageResource } from './catalogue.ts';

export interface Telling {
  readonly resource: MessageResource;
  readonly action: ActionName;
  readonly detail: DetailName;
}

interface Subject extends Telling {
  /** Where a failure in one step is another story. */
  readonly steps?: Readonly<Record<string, Pick<Telling, 'action' | 'detail'>>>;
}

const subjects: Readonly<Record<string, Subject>> = {
  'volume.create': {
    resource: 'VOLUME',
    action: 'createVolumeFromBackend',
    detail: 'unknown',
    steps: { schedule: { action: 'scheduleVolume', detail: 'noBackend' } },
  },
  'volume.extend': { resource: 'VOLUME', action: 'extendVolume', detail: 'extendFailed' },
  'volume.upload': { resource: 'VOLUME', action: 'copyVolumeToImage', detail: 'uploadFailed' },
  'snapshot.create': { resource: 'VOLUME_SNAPSHOT', action: 'createSnapshot', detail: 'snapshotFailed' },
  'snapshot.delete': { resource: 'VOLUME_SNAPSHOT', action: 'deleteSnapshot', detail: 'snapshotDeleteFailed' },
  'backup.create': {
    resource: 'VOLUME_BACKUP',
    action: 'createBackup',
    detail: 'backupFailed',
    steps: { schedule: { action: 'createBackup', detail: 'backupNotScheduled' } },
  },
  'backup.restore': { resource: 'VOLUME_BACKUP', action: 'restoreBackup', detail: 'restoreFailed' },
  'backup.delete': { resource: 'VOLUME_BACKUP', action: 'deleteBackup', detail: 'backupDeleteFailed' },
};

/** Undefined: nobody is told. What was cancelled was somebody's wish. */
export function tellingOf(kind: string, failure: SagaFailure): Telling | undefined {
  const subject = Object.hasOwn(subjects, kind) ? subjects[kind] : undefined;
  if (subject === undefined || failure.cancelled) return undefined;
  const { resource, action, detail, steps } = subject;
  return { resource, ...(steps?.[failure.step] ?? { action, detail }) };
}
