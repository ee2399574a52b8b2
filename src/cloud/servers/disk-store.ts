/** The only SQL on `server_disks`. */
import type { ServerDisk } from './contract.ts';
import type { Queries } from './store.ts';

export async function insertDisk(db: Queries, serverId: string, disk: Omit<ServerDisk, 'isLeaving'>): Promise<void> {
  await db
    .insertInto('server_disks')
    .values({
      server_id: serverId,
      volume_id: disk.volumeId,
      device: disk.device,
      attachment_id: disk.attachmentId,
      boot_index: disk.bootIndex,
      is_local: disk.isLocal,
      delete_on_termination: disk.deleteOnTermination,
      tag: disk.tag,
    })
    .execute();
}

/** False: it is leaving already, or is not there. */
export async function beginLeaving(db: Queries, serverId: string, volumeId: string): Promise<boolean> {
  const changed = await db
    .updateTable('server_disks')
    .set({ is_leaving: true })
    .where('server_id', '=', serverId)
    .where('volume_id', '=', volumeId)
    .where('is_leaving', '=', false)
    .executeTakeFirst();
  return changed.numUpdatedRows > 0n;
}

/** The guest does not let go of it. */
export async function keepDisk(db: Queries, serverId: string, volumeId: string): Promise<void> {
  await db
    .updateTable('server_disks')
    .set({ is_leaving: false })
    .where('server_id', '=', serverId)
    .where('volume_id', '=', volumeId)
    .execute();
}

export async function changeDeletion(db: Queries, serverId: string, volumeId: string, deleteOnTermination: boolean): Promise<void> {
  await db
    .updateTable('server_disks')
    .set({ delete_on_termination: deleteOnTermination })
    .where('server_id', '=', serverId)
    .where('volume_id', '=', volumeId)
    .execute();
}

/** Whether a server has a disk by this attachment. */
export async function hasDisk(db: Queries, attachmentId: string): Promise<boolean> {
  return (
    (await db.selectFrom('server_disks').select('server_id').where('attachment_id', '=', attachmentId).executeTakeFirst()) !== undefined
  );
}

export async function deleteDisk(db: Queries, serverId: string, volumeId: string): Promise<void> {
  await db.deleteFrom('server_disks').where('server_id', '=', serverId).where('volume_id', '=', volumeId).execute();
}
