import { expect, it } from 'vitest';
import { proveSaga, type SagaFixture } from '../support/saga-harness.ts';
import {
  device,
  nothingOfServersIsLeftOver,
  readBytes,
  type ServerCloud,
  serversAreConsistent,
  startServerCloud,
  writeBytes,
} from '../support/server-cloud.ts';
import { callerOf } from '../support/volume-cloud.ts';

/**
 * Every saga of servers, with real machines: each step twice, a failure at every marked instant, a cancellation before every step. Afterwards rows, machines
 * and disks say the same, and whatever the servers had can be deleted without a trace.
 */

const ada = callerOf('p');
const timeout = 600_000;

type Case = (cloud: ServerCloud) => Promise<{ order(): Promise<string>; check: SagaFixture['check'] }>;

function prove(kind: string, make: Case): Promise<string[]> {
  return proveSaga({
    kind,
    // Those of sagas by which servers are made before, and deleted afterwards.
    ignorePoint: (point) => point.startsWith('server.') && !point.startsWith(`${kind}:`),
    async make({ openJobs }) {
      const cloud = await startServerCloud({ openJobs });
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
          // A deletion that failed left what it had not come to; what counts is that the next one finds all of it.
          if (kind !== 'server.delete') await serversAreConsistent(cloud);
          await check(status);
          // The harness cancels the next deletion too.
          if (kind !== 'server.delete' || status !== 'cancelled') await nothingOfServersIsLeftOver(cloud, ada);
        },
        close: () => cloud.stop(),
      };
    },
  });
}

const data = Buffer.from('kept whatever happens to servers');

async function volumeWithData(cloud: ServerCloud): Promise<string> {
  const { id } = await cloud.volume(ada);
  await writeBytes(cloud, ada, id, data);
  return id;
}

/** The volume is nobody's, and holds what it held. */
async function mustBeFree(cloud: ServerCloud, id: string): Promise<void> {
  expect(await readBytes(cloud, ada, id, data.length)).toEqual(data);
}

it('server.create, with a disk of its own, a volume, and a volume that is made for it', { timeout }, async () => {
  await prove('server.create', async (cloud) => {
    const imageRef = await cloud.bootable(ada);
    const volumeId = await volumeWithData(cloud);
    const { id: snapshotId } = await cloud.snapshot(ada, volumeId);
    const before = await volumeIds(cloud);
    const blockDevices = [device({ source: 'volume', id: volumeId }), device({ source: 'snapshot', id: snapshotId })];
    let id: string;
    return {
      order: async () => (id = await cloud.orderServer(ada, { imageRef, blockDevices })),
      async check(status) {
        const server = await cloud.servers.get(ada, id);
        if (status === 'done') expect(server).toMatchObject({ vmState: 'active', fault: null });
        if (server.vmState === 'active') return expect(server.disks).toHaveLength(3);
        expect(server).toMatchObject({ vmState: 'error', powerState: 0, disks: [], fault: { code: 500 } });
        expect(await volumeIds(cloud)).toEqual(before);
        await mustBeFree(cloud, volumeId);
      },
    };
  });
});

async function volumeIds({ held }: ServerCloud): Promise<string[]> {
  return (await held.database.sql.selectFrom('volumes').select('id').orderBy('id').execute()).map(({ id }) => id);
}

type Standing = 'active' | 'paused' | 'stopped';

/** With a volume of data as its second disk. Brought to where it stands without the sagas that do so: those may be the changed ones. */
async function makeServer(cloud: ServerCloud, standing: Standing = 'active'): Promise<{ id: string; volumeId: string }> {
  const volumeId = await volumeWithData(cloud);
  const blockDevices = [device({ source: 'volume', id: volumeId })];
  const { id } = await cloud.server(ada, { imageRef: await cloud.bootable(ada), blockDevices });
  await expect.poll(() => cloud.servers.consoleOutput(ada, id, undefined), { timeout: 20_000 }).toContain('g');
  if (standing === 'paused') {
    await cloud.hypervisor.pause(await cloud.machineOf(id));
    await cloud.held.database.sql.updateTable('servers').set({ vm_state: 'paused', power_state: 3 }).where('id', '=', id).execute();
  }
  if (standing === 'stopped') await cloud.hypervisor.shutDown(await cloud.machineOf(id), 10_000);
  await expect.poll(async () => (await cloud.servers.get(ada, id)).vmState, { timeout: 20_000 }).toBe(standing);
  return { id, volumeId };
}

const powerCases = [
  { verb: 'start', from: 'stopped', to: 'active', left: ['active', 'stopped'] },
  { verb: 'stop', from: 'active', to: 'stopped', left: ['active', 'stopped'] },
  { verb: 'reboot', from: 'active', to: 'active', left: ['active', 'stopped'] },
  { verb: 'pause', from: 'active', to: 'paused', left: ['active', 'paused'] },
  { verb: 'unpause', from: 'paused', to: 'active', left: ['active', 'paused'] },
] as const;

it.each(powerCases)('server.power, $verb', { timeout }, async ({ verb, from, to, left }) => {
  await prove('server.power', async (cloud) => {
    const { id, volumeId } = await makeServer(cloud, from);
    return {
      async order() {
        await cloud.servers[verb](ada, id, 'SOFT');
        return id;
      },
      async check(status) {
        const { vmState, fault, disks } = await cloud.servers.get(ada, id);
        if (status === 'done') expect({ vmState, fault }).toEqual({ vmState: to, fault: null });
        expect(left).toContain(vmState);
        expect(disks.map((disk) => disk.volumeId)).toContain(volumeId);
      },
    };
  });
});

it.each(['active', 'stopped'] as const)('server.attach, to a server that is %s', { timeout }, async (standing) => {
  await prove('server.attach', async (cloud) => {
    const { id } = await makeServer(cloud, standing);
    const volumeId = await volumeWithData(cloud);
    return {
      async order() {
        await cloud.servers.attach(ada, id, { volumeId, device: null, tag: null, deleteOnTermination: false });
        return id;
      },
      async check(status) {
        const { vmState, disks } = await cloud.servers.get(ada, id);
        expect(vmState).toBe(standing);
        const isThere = disks.some((disk) => disk.volumeId === volumeId);
        if (status === 'done') expect(isThere).toBe(true);
        if (!isThere) await mustBeFree(cloud, volumeId);
      },
    };
  });
});

it.each(['active', 'stopped'] as const)('server.detach, from a server that is %s', { timeout }, async (standing) => {
  await prove('server.detach', async (cloud) => {
    const { id, volumeId } = await makeServer(cloud, standing);
    return {
      async order() {
        await cloud.servers.detach(ada, id, volumeId);
        return id;
      },
      async check(status) {
        const { vmState, disks } = await cloud.servers.get(ada, id);
        expect(vmState).toBe(standing);
        const isThere = disks.some((disk) => disk.volumeId === volumeId);
        if (status === 'done') expect(isThere).toBe(false);
        if (!isThere) await mustBeFree(cloud, volumeId);
      },
    };
  });
});

it('server.delete', { timeout }, async () => {
  await prove('server.delete', async (cloud) => {
    const { id, volumeId } = await makeServer(cloud);
    return {
      async order() {
        await cloud.servers.delete(ada, id);
        return id;
      },
      async check(status) {
        const server = await cloud.servers.get(ada, id).catch(() => undefined);
        if (status === 'done') expect(server).toBeUndefined();
        if (server !== undefined) expect(server).toMatchObject({ vmState: 'error', fault: { code: 500 } });
        else await mustBeFree(cloud, volumeId);
      },
    };
  });
});
