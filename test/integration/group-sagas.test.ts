import { expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { proveSaga, type SagaFixture } from '../support/saga-harness.ts';
import { callerOf, nothingIsLeftOver, startVolumeCloud, type VolumeCloud } from '../support/volume-cloud.ts';

/** Every saga of groups: each step twice, a failure at every marked instant, a cancellation before every step. All of a group, or none of it. */

const ada = callerOf('p');
const admin = { ...ada, roles: ['admin'], isAdmin: true };
const timeout = 300_000;

type Case = (cloud: VolumeCloud) => Promise<{ order(): Promise<string>; check: SagaFixture['check'] }>;

function prove(kind: string, make: Case): Promise<string[]> {
  return proveSaga({
    kind,
    async make({ openJobs }) {
      const cloud = await startVolumeCloud({ openJobs });
      const { order, check } = await make(cloud);
      return {
        jobs: cloud.jobs,
        async order() {
          const subjectId = await order();
          const saga = (await cloud.jobs.find(subjectId)).find((view) => view.kind === kind);
          if (saga === undefined) throw new Error(`no ${kind} was started for ${subjectId}`);
          return { sagaId: saga.id };
        },
        async check(status) {
          await check(status);
          await nothingIsLeftOver(cloud);
        },
        close: () => cloud.stop(),
      };
    },
  });
}

async function makeGroup(cloud: VolumeCloud, memberCount = 2): Promise<{ id: string; volumeIds: string[] }> {
  const type = await cloud.groups.types.create(admin, { name: newId(), description: null, isPublic: true, specs: {} });
  const { id } = await cloud.groups.create(ada, {
    name: 'all',
    description: null,
    groupType: type.id,
    volumeTypes: ['__DEFAULT__'],
    availabilityZone: null,
  });
  const volumeIds: string[] = [];
  for (let count = 0; count < memberCount; count += 1) volumeIds.push((await cloud.volume(ada, { groupId: id })).id);
  return { id, volumeIds };
}

const named = (name: string) => ({ name, description: null });

it('group_snapshot.create', { timeout }, async () => {
  await prove('group_snapshot.create', async (cloud) => {
    const { id: groupId, volumeIds } = await makeGroup(cloud);
    let id: string;
    return {
      order: async () => (id = (await cloud.groups.createSnapshot(ada, { ...named('s'), groupId })).id),
      async check(status) {
        const { status: reached } = await cloud.groups.getSnapshot(ada, id);
        expect(status === 'done' ? ['available'] : ['available', 'error']).toContain(reached);
        const parts = await cloud.held.database.sql.selectFrom('snapshots').selectAll().where('group_snapshot_id', '=', id).execute();
        expect(parts.map((part) => part.status)).toEqual(volumeIds.map(() => reached));
        expect(parts.every((part) => (part.point_id !== null) === (reached === 'available'))).toBe(true);
        for (const volumeId of volumeIds) expect((await cloud.volumes.get(ada, volumeId)).status).toBe('available');
      },
    };
  });
});

it('group_snapshot.delete', { timeout }, async () => {
  await prove('group_snapshot.delete', async (cloud) => {
    const { id: groupId } = await makeGroup(cloud);
    const { id } = await cloud.groups.createSnapshot(ada, { ...named('s'), groupId });
    await untilSettled(() => cloud.groups.getSnapshot(ada, id));
    return {
      async order() {
        await cloud.groups.deleteSnapshot(ada, id);
        return id;
      },
      async check(status) {
        const found = await cloud.groups.getSnapshot(ada, id).catch(() => undefined);
        if (status === 'done') expect(found).toBeUndefined();
        else if (found !== undefined) expect(found.status).toBe('error_deleting');
      },
    };
  });
});

it('group.create, from a group', { timeout }, async () => {
  await prove('group.create', async (cloud) => {
    const { id: sourceId, volumeIds } = await makeGroup(cloud);
    let id: string;
    return {
      order: async () => (id = (await cloud.groups.copy(ada, { ...named('copy'), source: { kind: 'group', id: sourceId } })).id),
      async check(status) {
        const { status: reached } = await cloud.groups.get(ada, id);
        expect(status === 'done' ? ['available'] : ['available', 'error']).toContain(reached);
        const copies = (await cloud.groups.memberIds([id])).get(id) ?? [];
        expect(copies).toHaveLength(volumeIds.length);
        for (const copy of copies) {
          expect((await cloud.volumes.get(ada, copy)).status).toBe(reached);
          expect(await cloud.disks.sizeOf(copy)).toBe(reached === 'available' ? 2 ** 30 : undefined);
        }
      },
    };
  });
});

it('group.delete', { timeout }, async () => {
  await prove('group.delete', async (cloud) => {
    const { id, volumeIds } = await makeGroup(cloud);
    return {
      async order() {
        await cloud.groups.delete(ada, id, { deleteVolumes: true });
        return id;
      },
      async check(status) {
        const found = await cloud.groups.get(ada, id).catch(() => undefined);
        if (status === 'done') expect(found).toBeUndefined();
        if (found === undefined) return;
        expect(found.status).toBe('error_deleting');
        for (const volumeId of volumeIds) expect((await cloud.volumes.get(ada, volumeId)).status).toBe('error_deleting');
      },
    };
  });
});

async function untilSettled(look: () => Promise<{ status: string }>): Promise<void> {
  await expect.poll(async () => (await look()).status, { timeout: 20_000 }).toBe('available');
}
