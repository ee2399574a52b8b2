/** The service of images on real disks and a real database, for tests that need no wire, or only that of Image. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDisksService, type RunningDisks } from '../../src/cloud/disks/service.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import { defaultImageLimits, type ImageLimits } from '../../src/cloud/images/deps.ts';
import { createImagesService, type ImagesService } from '../../src/cloud/images/service.ts';
import { type Jobs, openJobs as openRealJobs } from '../../src/cloud/jobs/service.ts';
import { createImageLimitQuotas } from '../../src/cloud/quotas/image-limits.ts';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { createImageIntake } from '../../src/engine/image-intake/intake.ts';
import type { DownloadRules } from '../../src/engine/image-intake/web-addresses.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import { createLayeredFiles } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { newHexId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { type TestDatabase, testDatabase } from './database.ts';

export interface ImagesUnderTest {
  readonly folder: string;
  readonly imagesDir: string;
  readonly volumesDir: string;
  readonly db: TestDatabase;
  readonly jobs: Jobs;
  readonly disks: RunningDisks;
  readonly images: ImagesService;
  /** What the service believes to be free for images. */
  freeBytes: number | undefined;
  /** As after the death of the process: a second service on the same state. The first must not be used any more. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly limits?: Partial<ImageLimits>;
  readonly download?: DownloadRules;
  readonly openJobs?: typeof openRealJobs;
  /** What an earlier process worked on; left where it is by `stop`. */
  readonly existing?: { readonly folder: string; readonly db: TestDatabase };
}

export async function startImages(options: StartOptions = {}): Promise<ImagesUnderTest> {
  const { openJobs = openRealJobs, existing } = options;
  const folder = existing?.folder ?? (await mkdtemp(join(tmpdir(), 'stillpoint-images-')));
  const [imagesDir, volumesDir, runtimeDir] = ['images', 'volumes', 'run'].map((name) => join(folder, name)) as [string, string, string];
  await mkdir(runtimeDir, { recursive: true, mode: 0o700 });
  const db = existing?.db ?? (await testDatabase());
  const confinement = createConfinement();
  const backend = createLayeredFiles({
    root: volumesDir,
    runtimeDir,
    log: silentLog,
    space: createSpaceAccount({ keptBytes: 0 }),
    confinement,
  });

  const believedSpace = createSpaceAccount({
    keptBytes: 0,
    ask: async () => ({ capacityBytes: 2 ** 40, freeBytes: running.freeBytes ?? (await backend.freeBytes()) }),
  });

  async function open(): Promise<Pick<ImagesUnderTest, 'jobs' | 'disks' | 'images'>> {
    const jobs = await openJobs({ database: db.database, connection: db.connection, log: silentLog });
    const disks = createDisksService({ database: db.database, backend, log: silentLog });
    const images = createImagesService({
      database: db.database,
      jobs,
      disks,
      intake: createImageIntake({ imagesDir, confinement, download: options.download }),
      space: believedSpace,
      quota: createImageLimitQuotas({ database: db.database }),
      clock: systemClock,
      log: silentLog,
      limits: { ...defaultImageLimits, ...options.limits },
    });
    await images.recover();
    await jobs.startWorking();
    return { jobs, disks, images };
  }

  const running = {
    folder,
    imagesDir,
    volumesDir,
    db,
    freeBytes: undefined as number | undefined,
    async restart() {
      running.images.stop();
      await running.jobs.stop();
      await running.disks.stop();
      Object.assign(running, await open());
    },
    async stop() {
      running.images.stop();
      await running.jobs.stop();
      await running.disks.stop();
      if (existing !== undefined) return;
      await db.drop();
      await rm(folder, { recursive: true, force: true });
    },
  } as ImagesUnderTest & Record<'jobs' | 'disks' | 'images', unknown>;
  return Object.assign(running, await open());
}

export function callerOf(project: string, roles: readonly string[] = ['member', 'reader']): Caller {
  return {
    userId: `user-of-${project}`,
    userName: project,
    projectId: project,
    roles,
    isAdmin: roles.includes('admin'),
    requestId: `req-${randomBytes(4).toString('hex')}`,
  };
}

export const newProject = (): string => newHexId();
