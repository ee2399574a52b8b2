/**
 * An image of a server.
 *
 * One that boots from a disk of its own becomes an image with bytes:
 *
 *   freeze                   what the disk holds becomes a point; a running guest stands still for that moment
 *   convert, take, publish   the point is written as a file (see images/point-image.ts)
 *   finish                   one transaction: the image is active, and the server's task is over
 *
 * One that boots from volumes becomes snapshots of all of them, of one moment, and an image that names them; it has been there since the request, so only
 * `freeze` and `finish` have something to do.
 *
 * Half-way: ids were chosen in the request, and every step finds what an interrupted attempt made. A failure leaves nothing: the files, the point, the
 * snapshots and the image go, and the server says why.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Converted, ImagesForServers, PointImage, Taken } from '../images/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { SnapshotsForServers } from '../snapshots/service.ts';
import { finishAction } from './action-store.ts';
import type { RunningServers } from './running.ts';
import type { TaskState } from './states.ts';
import { changeTask, endTask } from './store.ts';

export const imageKind = 'server.image';

export type SnapshotPart = {
  readonly snapshotId: string;
  readonly volumeId: string;
  readonly pointId: string;
  readonly topLayerId: string;
};

export type ImageInput = {
  readonly serverId: string;
  readonly imageId: string;
  readonly requestId: string;
  /** Null: the image only names snapshots. */
  readonly disk: (PointImage & { readonly volumeId: string; readonly topLayerId: string }) | null;
  /** What the image says of itself once it has its bytes. */
  readonly properties: { readonly [name: string]: string };
  readonly parts: readonly SnapshotPart[];
};

export interface ImageJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'freeze' | 'freezeTogether' | 'release'>;
  readonly images: Pick<ImagesForServers, 'point' | 'drop'>;
  readonly snapshots: SnapshotsForServers;
  readonly running: RunningServers;
}

type Context = StepContext<ImageInput>;

const own: readonly TaskState[] = ['image_snapshot_pending', 'image_snapshot'];

export function imageSaga(deps: ImageJobDeps): SagaDefinition<ImageInput> {
  const { database, disks, images, snapshots, running } = deps;
  const { point } = images;

  async function freeze({ input, effect }: Context): Promise<undefined> {
    const { disk, parts, imageId, serverId } = input;
    await changeTask(database.sql, serverId, 'image_snapshot_pending', 'image_snapshot');
    if (disk !== null) {
      const { volumeId, pointId, topLayerId } = disk;
      return void (await effect('freeze', () => disks.freeze(volumeId, { pointId, topLayerId, holder: point.readerOf(imageId) })));
    }
    const plans = parts.map(({ snapshotId, ...plan }) => ({ ...plan, holder: snapshots.holderOf(snapshotId) }));
    await effect('freeze', () => disks.freezeTogether(plans));
  }

  async function giveUp(context: Context): Promise<void> {
    const { disk, parts } = context.input;
    if (disk !== null) return await point.release(context, disk);
    await context.effect('release', () =>
      database.transact(async (tx) => {
        // Those that name their points are finished, also when a failure is reported: the answer to a commit may be lost.
        for (const { pointId, snapshotId } of parts) {
          if (!(await snapshots.isFinished(tx, snapshotId, pointId))) await disks.release(tx, pointId, snapshots.holderOf(snapshotId));
        }
      }),
    );
  }

  /** A step that only images with bytes have. */
  const ofBytes =
    <Result extends Converted | Taken | undefined>(work: (context: Context, disk: PointImage) => Promise<Result>) =>
    async (context: Context): Promise<Result | undefined> => {
      const { disk } = context.input;
      return disk === null ? undefined : await work(context, disk);
    };
  const removeFiles = async (context: Context): Promise<void> => {
    if (context.input.disk !== null) await point.removeFiles(context, context.input.imageId);
  };

  async function finish(context: Context): Promise<undefined> {
    const { serverId, disk, properties, parts, requestId } = context.input;
    const [converted, taken] = [context.output<Converted>('convert'), context.output<Taken>('take')];
    await context.effect('rows', () =>
      database.transact(async (tx) => {
        if (disk !== null) {
          if (taken === undefined || converted === undefined) throw new Error('the earlier steps left no word of the file');
          const formats = { diskFormat: disk.format, containerFormat: 'bare', properties };
          await point.activate(tx, disk, { converted, taken, formats });
        }
        for (const { snapshotId, pointId } of parts) {
          if (!(await snapshots.finish(tx, snapshotId, pointId))) await disks.release(tx, pointId, snapshots.holderOf(snapshotId));
        }
        await endTask(tx.sql, serverId, own);
        await finishAction(tx.sql, serverId, requestId, null);
      }),
    );
    await running.follow(serverId);
  }

  return {
    kind: imageKind,
    // Each is a `qemu-img` that reads as fast as it can.
    concurrency: 2,
    steps: [
      { name: 'freeze', run: freeze, undo: giveUp },
      { name: 'convert', run: ofBytes((context, disk) => point.convert(context, disk)), undo: removeFiles },
      { name: 'take', run: ofBytes((context, disk) => point.take(context, disk)), undo: removeFiles },
      {
        name: 'publish',
        run: ofBytes(async (context, disk): Promise<undefined> => {
          await point.publish(context, disk);
        }),
        undo: removeFiles,
      },
      { name: 'finish', run: finish, undo: { notNeeded: 'It is one transaction, and the last step.' } },
    ],
    async settle(context, failure) {
      const { serverId, imageId, parts, requestId } = context.input;
      await removeFiles(context);
      const message = `The image could not be made: ${failure.message}`;
      await context.effect('rows', () =>
        database.transact(async (tx) => {
          const [first] = parts;
          // All of them were, in one transaction, or none.
          if (first !== undefined && (await snapshots.isFinished(tx, first.snapshotId, first.pointId))) return;
          for (const { snapshotId } of parts) await snapshots.drop(tx, snapshotId);
          await images.drop(tx, imageId);
          await endTask(tx.sql, serverId, own, { fault: { code: 500, message } });
          await finishAction(tx.sql, serverId, requestId, message);
        }),
      );
      await running.settle(serverId);
    },
  };
}
