/** How much of images a project may have. Usage is counted from the rows, under a lock that lasts as long as the transaction that adds to it. */
import { sql } from 'kysely';
import { tooLarge } from '../../lib/errors.ts';
import type { Tx } from '../database/service.ts';
import type { Image, StagedBytes } from './image.ts';
import { noteArrived, type Queries } from './store.ts';

/** Sizes in MiB. */
export type ImageQuotaKey = 'image_size_total' | 'image_stage_total' | 'image_count_total' | 'image_count_uploading';
export type ImageQuotaValues = Readonly<Record<ImageQuotaKey, number>>;

/** Where limits come from. -1 = unlimited. */
export interface ImageLimitSource {
  of(db: Queries, projectId: string): Promise<ImageQuotaValues>;
  /** The same, and nobody else takes from them until the transaction ends. */
  lock(tx: Tx, projectId: string): Promise<ImageQuotaValues>;
}

/** What is added: bytes for sizes, else a number of images. */
export type ImageQuotaWish = Partial<Record<ImageQuotaKey, number>>;

const mib = 2 ** 20;
const unlimited = -1;
const unitOf = (key: ImageQuotaKey): number => (key === 'image_size_total' || key === 'image_stage_total' ? mib : 1);

/** Call it in the transaction that adds, before it does. */
export async function reserveImages(source: ImageLimitSource, tx: Tx, projectId: string, wish: ImageQuotaWish): Promise<void> {
  const limits = await source.lock(tx, projectId);
  if (Object.values(limits).every((limit) => limit === unlimited)) return;
  const inUse = await usage(tx.sql, projectId);
  for (const key of Object.keys(wish) as ImageQuotaKey[]) {
    const added = wish[key] ?? 0;
    const unit = unitOf(key);
    if (limits[key] === unlimited || inUse[key] + added <= limits[key] * unit) continue;
    const [current, delta] = [Math.floor(inUse[key] / unit), Math.ceil(added / unit)];
    throw tooLarge(
      `Project ${projectId} is over a limit for [Resource ${key} is over limit of ${limits[key]} due to current usage ${current} and delta ${delta}]`,
    );
  }
}

/** Takes the room for what has arrived for an image, which this transaction has locked, and writes it into the row. May be repeated. */
export async function reserveArrived(source: ImageLimitSource, tx: Tx, image: Image, arrived: StagedBytes): Promise<void> {
  const counted = image.staged?.sizeBytes ?? 0;
  await reserveImages(source, tx, image.owner, { image_size_total: arrived.sizeBytes - counted });
  const { uploadId, sizeBytes, md5, sha512 } = arrived;
  await noteArrived(tx.sql, image.id, { uploadId, sizeBytes, md5, sha512 });
}

export type ImageUsage = Readonly<Record<ImageQuotaKey, { readonly limit: number; readonly usage: number }>>;

export async function imageUsage(source: ImageLimitSource, db: Queries, projectId: string): Promise<ImageUsage> {
  const limits = await source.of(db, projectId);
  const inUse = await usage(db, projectId);
  const of = (key: ImageQuotaKey) => ({ limit: limits[key], usage: Math.floor(inUse[key] / unitOf(key)) });
  return {
    image_size_total: of('image_size_total'),
    image_stage_total: of('image_stage_total'),
    image_count_total: of('image_count_total'),
    image_count_uploading: of('image_count_uploading'),
  };
}

/** Sizes in bytes. What is being prepared or imported counts as what it becomes, else several at once could pass the limit together. */
async function usage(db: Queries, projectId: string): Promise<ImageQuotaValues> {
  const { rows } = await sql<ImageQuotaValues>`
    SELECT (coalesce(sum(size_bytes), 0)
             + coalesce(sum((staged ->> 'sizeBytes')::bigint) FILTER (WHERE status IN ('saving', 'importing')), 0))::bigint AS image_size_total,
           coalesce(sum((staged ->> 'sizeBytes')::bigint) FILTER (WHERE status <> 'saving'), 0)::bigint AS image_stage_total,
           count(*) AS image_count_total,
           count(*) FILTER (WHERE status IN ('saving', 'uploading', 'importing')) AS image_count_uploading
      FROM images WHERE owner = ${projectId}`.execute(db);
  const [row] = rows;
  if (row === undefined) throw new Error('an aggregate without a row');
  return row;
}
