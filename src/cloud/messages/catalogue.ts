/** What messages say: the numbers are Block Storage's, and so are the words, for clients show them and scripts look for them. */

export const resourceTypes = ['VOLUME', 'VOLUME_SNAPSHOT', 'VOLUME_BACKUP'] as const;
export type MessageResource = (typeof resourceTypes)[number];

export const actions = {
  scheduleVolume: { id: '001', text: 'schedule allocate volume' },
  copyVolumeToImage: { id: '003', text: 'copy volume to image' },
  copyImageToVolume: { id: '005', text: 'copy image to volume' },
  extendVolume: { id: '007', text: 'extend volume' },
  createVolumeFromBackend: { id: '008', text: 'create volume from backend storage' },
  createSnapshot: { id: '009', text: 'create snapshot' },
  deleteSnapshot: { id: '010', text: 'delete snapshot' },
  createBackup: { id: '013', text: 'create backup' },
  deleteBackup: { id: '014', text: 'delete backup' },
  restoreBackup: { id: '015', text: 'restore backup' },
} as const;

export const details = {
  unknown: { id: '001', text: 'An unknown error occurred.' },
  noBackend: { id: '003', text: 'Could not find any available weighted backend.' },
  uploadFailed: { id: '004', text: 'Failed to upload volume to image at backend.' },
  noSpaceForImage: { id: '007', text: 'Image used for creating volume exceeds available space.' },
  extendFailed: { id: '010', text: 'Volume Driver failed to extend volume.' },
  snapshotFailed: { id: '012', text: 'Driver failed to create the snapshot.' },
  snapshotDeleteFailed: { id: '015', text: 'Snapshot failed to delete.' },
  backupFailed: { id: '020', text: 'Backup driver failed to create backup.' },
  backupNotScheduled: { id: '024', text: 'Backup failed to schedule. Service not found for creating backup.' },
  backupDeleteFailed: { id: '025', text: 'Backup driver failed to delete backup.' },
  restoreFailed: { id: '026', text: 'Backup driver failed to restore backup.' },
} as const;

export type ActionName = keyof typeof actions;
export type DetailName = keyof typeof details;

const textOf = (list: Readonly<Record<string, { id: string; text: string }>>, id: string, otherwise: string): string =>
  Object.values(list).find((item) => item.id === id)?.text ?? otherwise;

export const eventIdOf = (resource: MessageResource, actionId: string, detailId: string): string =>
  `VOLUME_${resource}_${actionId}_${detailId}`;

export const userTextOf = (actionId: string, detailId: string): string =>
  `${textOf(actions, actionId, 'unknown action')}:${textOf(details, detailId, details.unknown.text)}`;
