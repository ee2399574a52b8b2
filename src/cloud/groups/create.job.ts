/**
 * Creating a group from another one, or from a group snapshot: each member starts from a point, and no bytes are copied.
 *
 *   schedule the backend takes new volumes; else all of it is in error
 *   freeze   only from a group: what its volumes hold at one moment becomes hidden points, held for the new group
 *   disks    the members' top layers are made on the points
 *   finish   one transaction: all members and the group are available; the holds end, for the layers keep the points from now on
 *
 * The points of a group snapshot are held since the request's own transaction. Half-way: all ids were chosen in the request, so every step finds what
 * an interrupted attempt made. A failure drops the disks, ends the holds, and leaves the group and its members in error: all or none.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { Placement } from '../hosts/service.ts';
import type { SagaDefinition, StepContext } from '../jobs/saga.ts';
import type { VolumesForGroups } from '../volumes/service.ts';
import { moveGroup } from './store.ts';

export const createKind = 'group.create';

export type CreateInput = {
  readonly groupId: string;
  readonly members: readonly {
    readonly volumeId: string;
    readonly topLayerId: string;
    readonly sizeBytes: number;
    readonly pointId: string;
    /** Where the point is made, and the layer that this volume goes on in; null: the point is there. */
    readonly source: { readonly volumeId: string; readonly topLayerId: string } | null;
  }[];
};

export interface CreateJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'freezeTogether' | 'createDisk' | 'dropDisk' | 'release'>;
  readonly volumes: Pick<VolumesForGroups, 'endCopy' | 'lockMembers'>;
  readonly placement: Pick<Placement, 'takesVolume'>;
}

type Context = StepContext<CreateInput>;

export const holderOf = (groupId: string): string => `group:${groupId}`;

export function createGroupSaga(deps: CreateJobDeps): SagaDefinition<CreateInput> {
  return {
    kind: createKind,
    steps: [
      { name: 'schedule', run: () => schedule(deps), undo: { notNeeded: 'It only looks.' } },
      { name: 'freeze', run: (context) => freeze(deps, context), undo: (context) => endHolds(deps, context) },
      { name: 'disks', run: (context) => makeDisks(deps, context), undo: (context) => dropUnfinished(deps, context) },
      { name: 'finish', run: (context) => finish(deps, context), undo: { notNeeded: 'It is one transaction, and the last step.' } },
    ],
    async settle(context) {
      await endHolds(deps, context);
      await fail(deps, context);
    },
  };
}

/** Their types are those of volumes that are there; whether the backend takes new ones at all is the operator's word. */
async function schedule({ database, placement }: CreateJobDeps): Promise<undefined> {
  if (!(await placement.takesVolume(database.sql, {}))) throw new Error('No valid backend was found. No weighed backends available');
}

async function freeze({ disks }: CreateJobDeps, context: Context): Promise<undefined> {
  const { groupId, members } = context.input;
  const plans = members.flatMap(({ pointId, source }) => (source === null ? [] : [{ ...source, pointId, holder: holderOf(groupId) }]));
  if (plans.length > 0) await context.effect('freeze', () => disks.freezeTogether(plans));
}

async function endHolds({ database, disks }: CreateJobDeps, { input }: Context): Promise<void> {
  await database.transact(async (tx) => {
    for (const { pointId } of input.members) await disks.release(tx, pointId, holderOf(input.groupId));
  });
}

async function makeDisks({ disks }: CreateJobDeps, context: Context): Promise<undefined> {
  await context.effect('create', async () => {
    for (const { volumeId, topLayerId, sizeBytes, pointId } of context.input.members) {
      await disks.createDisk(volumeId, { topLayerId, sizeBytes, fromPointId: pointId });
    }
  });
}

/** Only disks that nobody can use yet are dropped: the answer to a commit may be lost, and then the volumes are available. */
async function dropUnfinished(deps: CreateJobDeps, context: Context): Promise<void> {
  await fail(deps, context);
  const members = await deps.database.transact((tx) => deps.volumes.lockMembers(tx, context.input.groupId));
  await context.effect('drop', async () => {
    for (const { id, status } of members) if (status === 'error') await deps.disks.dropDisk(id);
  });
}

async function fail({ database, volumes }: CreateJobDeps, { input }: Context): Promise<void> {
  await database.transact(async (tx) => {
    await moveGroup(tx.sql, input.groupId, 'createFailed');
    for (const { volumeId } of input.members) await volumes.endCopy(tx, volumeId, 'failed');
  });
}

async function finish({ database, disks, volumes }: CreateJobDeps, context: Context): Promise<undefined> {
  const { groupId, members } = context.input;
  await context.effect('rows', () =>
    database.transact(async (tx) => {
      // An administrator may have set another status meanwhile: that word stays.
      await moveGroup(tx.sql, groupId, 'created');
      for (const { volumeId, pointId } of members) {
        await volumes.endCopy(tx, volumeId, 'done');
        await disks.release(tx, pointId, holderOf(groupId));
      }
    }),
  );
}
