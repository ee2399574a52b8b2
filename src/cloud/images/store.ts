/** The only SQL on `images`, but for lists (`list.ts`). Every change of a status is a compare-and-set on what `states.ts` allows. */
import type { Kysely, Selectable } from 'kysely';
import { json, type Schema, type Timestamp } from '../database/service.ts';
import type { Image, ImageData, StagedBytes, Visibility } from './image.ts';
import { type ImageStatus, type TransitionName, transitions } from './states.ts';

/** A transaction's queries, or the pool's. */
export type Queries = Kysely<Schema>;

export function imageOf(row: Selectable<Schema['images']>): Image {
  return {
    id: row.id,
    owner: row.owner,
    name: row.name,
    // Only this file writes the column, and only from the table of states.
    status: row.status as ImageStatus,
    visibility: row.visibility as Visibility,
    protected: row.protected,
    hidden: row.hidden,
    containerFormat: row.container_format,
    diskFormat: row.disk_format,
    sizeBytes: row.size_bytes,
    virtualBytes: row.virtual_bytes,
    checksum: row.checksum,
    hashAlgorithm: row.os_hash_algo,
    hashValue: row.os_hash_value,
    minDiskGib: row.min_disk,
    minRamMib: row.min_ram,
    tags: row.tags,
    properties: row.properties,
    pointId: row.point_id,
    // Only `stageImage` and `noteArrived` write the column.
    staged: row.staged as StagedBytes | null,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

type Editable = Omit<Image, 'id' | 'status' | 'staged' | keyof ImageData | 'createdAt' | 'updatedAt'>;

const editableColumns = (image: Editable) => ({
  owner: image.owner,
  name: image.name,
  visibility: image.visibility,
  protected: image.protected,
  hidden: image.hidden,
  container_format: image.containerFormat,
  disk_format: image.diskFormat,
  min_disk: image.minDiskGib,
  min_ram: image.minRamMib,
  tags: [...image.tags],
  properties: json(image.properties),
});

const dataColumns = (data: ImageData | undefined) => ({
  size_bytes: data?.sizeBytes ?? null,
  virtual_bytes: data?.virtualBytes ?? null,
  checksum: data?.checksum ?? null,
  os_hash_algo: data?.hashAlgorithm ?? null,
  os_hash_value: data?.hashValue ?? null,
  point_id: data?.pointId ?? null,
});

export async function insertImage(db: Queries, id: string, image: Editable, createdAt: Timestamp): Promise<Image> {
  const row = await db
    .insertInto('images')
    .values({ id, status: 'queued', ...editableColumns(image), created_at: createdAt, updated_at: createdAt })
    .returningAll()
    .executeTakeFirstOrThrow();
  return imageOf(row);
}

export async function findImage(db: Queries, id: string): Promise<Image | undefined> {
  const row = await db.selectFrom('images').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : imageOf(row);
}

/** The row, locked until the transaction ends: what is decided on it stays true. */
export async function lockImage(db: Queries, id: string): Promise<Image | undefined> {
  const row = await db.selectFrom('images').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : imageOf(row);
}

/** As `lockImage`, but only against change and deletion: any number may hold it at once. */
export async function shareImage(db: Queries, id: string): Promise<Image | undefined> {
  const row = await db.selectFrom('images').selectAll().where('id', '=', id).forShare().executeTakeFirst();
  return row === undefined ? undefined : imageOf(row);
}

export async function saveImage(db: Queries, image: Image, updatedAt: Timestamp): Promise<Image> {
  const row = await db
    .updateTable('images')
    .set({ ...editableColumns(image), updated_at: updatedAt })
    .where('id', '=', image.id)
    .returningAll()
    .executeTakeFirstOrThrow();
  return imageOf(row);
}

/** False = the image is in no state that this may start from (or gone), and nothing changed. `data`: undefined = stays, null = cleared; either way but the first, nothing is staged any more. */
export async function changeStatus(
  db: Queries,
  id: string,
  name: TransitionName,
  updatedAt: Timestamp,
  data?: ImageData | null,
): Promise<boolean> {
  const { from, to } = transitions[name];
  const result = await db
    .updateTable('images')
    .set({ status: to, updated_at: updatedAt, ...(data === undefined ? {} : { ...dataColumns(data ?? undefined), staged: null }) })
    .where('id', '=', id)
    .where('status', 'in', from)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** The image is active, and empty. */
export async function registerImage(db: Queries, id: string, updatedAt: Timestamp): Promise<void> {
  await changeStatus(db, id, 'registered', updatedAt);
  await db.updateTable('images').set({ size_bytes: 0 }).where('id', '=', id).execute();
}

/** False = nobody is staging to the image any more. */
export async function stageImage(db: Queries, id: string, staged: StagedBytes, updatedAt: Timestamp): Promise<boolean> {
  const result = await db
    .updateTable('images')
    .set({ staged: json(staged), updated_at: updatedAt })
    .where('id', '=', id)
    .where('status', '=', 'uploading')
    .where('staged', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** Of an image that is being prepared, and locked by this transaction. */
export async function noteArrived(db: Queries, id: string, arrived: StagedBytes): Promise<void> {
  await db
    .updateTable('images')
    .set({ staged: json(arrived) })
    .where('id', '=', id)
    .execute();
}

export async function deleteImage(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('images').where('id', '=', id).execute();
}

/** The ids of images whose bytes are arriving, or were when a process died. */
export async function arrivingImages(db: Queries): Promise<string[]> {
  const rows = await db.selectFrom('images').select('id').where('status', 'in', ['saving', 'uploading', 'importing']).execute();
  return rows.map((row) => row.id);
}
