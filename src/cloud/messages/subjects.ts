/** Which failed job is told to the user, as what: by the kind of its saga and the step that failed. */
import type { Json } from '../database/service.ts';
import type { SagaFailure } from '../jobs/saga.ts';
import type { ActionName, DetailName, MessageResource } from './catalogue.ts';

export interface Telling {
  readonly resource: MessageResource;
  readonly action: ActionName;
  readonly detail: DetailName;
  /** Whose message it is when that is not what the saga works on. */
  readonly resourceId: string | null;
}

interface Subject extends Omit<Telling, 'resourceId'> {
  /** The field of the saga's input that names the resource; left out: the saga's subject. */
  readonly namedBy?: string;
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
  'volume.reimage': { resource: 'VOLUME', action: 'copyImageToVolume', detail: 'unknown' },
  'volume.extend': { resource: 'VOLUME', action: 'extendVolume', detail: 'extendFailed' },
  // The saga works on the image; the request was about the volume.
  'image.from_volume': { resource: 'VOLUME', namedBy: 'volumeId', action: 'copyVolumeToImage', detail: 'uploadFailed' },
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
export function tellingOf(kind: string, input: Json, failure: SagaFailure): Telling | undefined {
  const subject = Object.hasOwn(subjects, kind) ? subjects[kind] : undefined;
  if (subject === undefined || failure.cancelled) return undefined;
  const { resource, action, detail, steps, namedBy } = subject;
  const resourceId = namedBy === undefined ? null : String((input as Readonly<Record<string, Json>>)[namedBy]);
  return { resource, resourceId, ...(steps?.[failure.step] ?? { action, detail }) };
}
