import type { ImageIntake } from '../../engine/image-intake/intake.ts';
import type { SpaceAccount } from '../../engine/space/contract.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/contract.ts';
import type { Jobs } from '../jobs/service.ts';
import type { ImageLimitSource } from './quota.ts';

export interface ImageLimits {
  /** The largest upload. */
  readonly uploadBytesMax: number;
  /** The largest disk inside one. */
  readonly virtualBytesMax: number;
}

/** 1 TiB and 16 TiB. */
export const defaultImageLimits: ImageLimits = { uploadBytesMax: 2 ** 40, virtualBytesMax: 2 ** 44 };

export interface ImagesDeps {
  readonly database: Database;
  readonly jobs: Jobs;
  readonly disks: Pick<DisksService, 'createBase' | 'sourceOf' | 'hold' | 'release'>;
  readonly intake: ImageIntake;
  readonly space: Pick<SpaceAccount, 'reserve'>;
  readonly quota: ImageLimitSource;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ImageLimits;
}

/** Whose hold keeps the base of an image. */
export const holderOf = (imageId: string): string => `image:${imageId}`;
