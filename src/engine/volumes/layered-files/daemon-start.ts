/** The start of a storage daemon: see engine/qemu/program-start.ts for what is waited for, and why. */
import { messageOf } from '../../../lib/errors.ts';
import { waitUntilStarted } from '../../qemu/program-start.ts';
import type { DiskExport } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import type { ExportFolder } from './export-folder.ts';
import { storageDaemon } from './find-process.ts';

/** Rejects with `failed` when the daemon ends instead, with the end of its log, or takes longer than 15 s. */
export async function waitUntilServing({ processId, id }: DiskExport, { pidPath, logPath }: ExportFolder): Promise<void> {
  try {
    await waitUntilStarted({ name: storageDaemon, processId, mark: id, signPath: pidPath, logPath });
  } catch (error) {
    throw new VolumeBackendError('failed', messageOf(error));
  }
}
