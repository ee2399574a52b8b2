/** Moments of disks: a freeze while the client writes, of one volume or of several together. */
import { newId } from '../../src/lib/ids.ts';
import { beginWindow } from './client.ts';
import type { Contents } from './contents.ts';
import { isRefusal } from './disk-client.ts';
import type { PointModel, VolumeModel } from './model.ts';
import type { Made } from './stage.ts';
import type { SimpleStep } from './steps.ts';
import type { World } from './world.ts';

type Plan<O extends SimpleStep['op']> = Extract<SimpleStep, { op: O }>;

/** What a freeze of the volume made is read at once, and says which moment it was. */
export async function lookAtMoment(world: World, volume: VolumeModel, pointId: string, name: string): Promise<Contents> {
  const observed = await world.readPoint(pointId);
  volume.matchMoment(name, observed);
  world.everyPoint.set(pointId, observed);
  return observed;
}

export function snapshot(world: World, { volume: name, as, meanwhile }: Plan<'snapshot'>): Made | undefined {
  const volume = world.volumes.get(name);
  if (volume === undefined || world.points.has(as)) return undefined;
  const [pointId, topLayerId, holder] = [newId(), newId(), `snapshot:${as}`];
  let contents: Contents;
  return {
    beside: beginWindow(volume, meanwhile),
    parts: [
      () => world.disks.order('freeze', { volumeId: volume.id, pointId, topLayerId, holder }),
      async () => {
        contents = await lookAtMoment(world, volume, pointId, as);
      },
    ],
    done() {
      world.points.set(as, { name: as, pointId, contents, holder, volume: name });
    },
    giveUp: () => world.disks.order('release', { pointId, holder }),
  };
}

/** All points, or none: what was interrupted may be refused when it is repeated, and takes longer than clients wait on a machine that is too slow. */
export function snapshotTogether(world: World, { parts, meanwhile }: Plan<'snapshot-together'>): Made | undefined {
  const members = parts.flatMap(({ volume: name, as }) => {
    const volume = world.volumes.get(name);
    return volume === undefined || world.points.has(as)
      ? []
      : [{ volume, as, pointId: newId(), topLayerId: newId(), holder: `snapshot:${as}` }];
  });
  if (members.length < parts.length) return undefined;
  const plans = members.map(({ volume, pointId, topLayerId, holder }) => ({ volumeId: volume.id, pointId, topLayerId, holder }));
  const made: PointModel[] = [];
  const release = async (): Promise<void> => {
    for (const { pointId, holder } of plans) await world.disks.order('release', { pointId, holder });
  };
  let isRefused = false;
  return {
    beside: Promise.all(members.map(({ volume }) => beginWindow(volume, meanwhile))).then(() => undefined),
    parts: [
      async () => {
        isRefused = await isRefusal(world.disks.order('freezeTogether', plans));
        if (isRefused) await release();
      },
      async () => {
        made.length = 0;
        for (const { volume, as, pointId, holder } of isRefused ? [] : members) {
          const contents = await lookAtMoment(world, volume, pointId, as);
          made.push({ name: as, pointId, contents, holder, volume: volume.name });
        }
      },
    ],
    done() {
      for (const point of made) world.points.set(point.name, point);
    },
    giveUp: release,
  };
}
