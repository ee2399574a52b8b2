/**
 * What projects may have of images. Kept apart from the limits of Block Storage, whose quota sets neither show nor reset these; sizes are in
 * MiB, as Image has them. Images are counted by whoever asks, in the transaction that holds the lock.
 */
import type { Kysely } from 'kysely';
import { badRequest } from '../../lib/errors.ts';
import type { Schema } from '../database/schema.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { authorise } from '../identity/policy.ts';
import { type QuotaLimits, unlimited } from './keys.ts';
import { lockProject, readLimits, writeLimits } from './store.ts';

export const imageLimitKeys = ['image_size_total', 'image_stage_total', 'image_count_total', 'image_count_uploading'] as const;
export type ImageLimitKey = (typeof imageLimitKeys)[number];
export type ImageLimitValues = Readonly<Record<ImageLimitKey, number>>;

export interface ImageLimitQuotas {
  /** -1 = unlimited, which all are that nobody has set. */
  of(db: Kysely<Schema>, projectId: string): Promise<ImageLimitValues>;
  /** The same, and nobody else takes from them until the transaction ends. */
  lock(tx: Tx, projectId: string): Promise<ImageLimitValues>;
  /** May be below what is in use: then nothing more is taken. Returns all. */
  set(caller: Caller, projectId: string, limits: QuotaLimits): Promise<ImageLimitValues>;
}

const limitMax = 2 ** 31 - 1;
/** Under which name a project's limits lie beside those of Block Storage. */
const ownerOf = (projectId: string): string => `image:${projectId}`;

export function createImageLimitQuotas({ database }: { database: Database }): ImageLimitQuotas {
  async function of(db: Kysely<Schema>, projectId: string): Promise<ImageLimitValues> {
    const { own } = await readLimits(db, ownerOf(projectId));
    const limitOf = (key: ImageLimitKey): number => own[key] ?? unlimited;
    return {
      image_size_total: limitOf('image_size_total'),
      image_stage_total: limitOf('image_stage_total'),
      image_count_total: limitOf('image_count_total'),
      image_count_uploading: limitOf('image_count_uploading'),
    };
  }

  return {
    of,
    async lock(tx, projectId) {
      await lockProject(tx, ownerOf(projectId));
      return await of(tx.sql, projectId);
    },
    async set(caller, projectId, limits) {
      authorise(caller, 'quota:update', { projectId });
      for (const [key, limit] of Object.entries(limits)) {
        if (!imageLimitKeys.some((known) => known === key))
          throw badRequest(`There is no limit ${key}: they are ${imageLimitKeys.join(', ')}.`);
        if (!Number.isInteger(limit) || limit < unlimited || limit > limitMax)
          throw badRequest(`${key} must be an integer from -1 to ${limitMax}.`);
      }
      return await database.transact(async (tx) => {
        await writeLimits(tx, ownerOf(projectId), limits);
        return await of(tx.sql, projectId);
      });
    },
  };
}
