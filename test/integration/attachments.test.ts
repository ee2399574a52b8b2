import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Connector, DescribeConnection } from '../../src/cloud/volumes/attachments.ts';
import type { Attachment } from '../../src/cloud/volumes/contract.ts';
import { newId } from '../../src/lib/ids.ts';
import { callerOf, startVolumeCloud, type VolumeCloud } from '../support/volume-cloud.ts';

/** Attachments as things of their own: the server of a disk is there as long as one of them needs it, and no longer. */

const ada = callerOf('p');
const connector: Connector = { host: 'here', mountpoint: '/dev/vdb', mode: 'rw' };
const describeConnection: DescribeConnection = (volumeId, attachmentId, { socketPath }) => ({ volumeId, attachmentId, socketPath });

let cloud: VolumeCloud;
beforeAll(async () => {
  cloud = await startVolumeCloud();
});
afterAll(() => cloud.stop());

const attach = (volumeId: string, instanceId: string): Promise<Attachment> =>
  cloud.volumes.attachments.create(ada, { volumeId, instanceId, mode: null, connector }, describeConnection);
const serversOf = (volumeId: string) =>
  cloud.held.database.sql.selectFrom('volume_exports').select('volume_id').where('volume_id', '=', volumeId).execute();

it('one after the other leave the server to those that stay', async () => {
  const { id } = await cloud.volume(ada);
  const instanceId = newId();
  const [first, second] = [await attach(id, instanceId), await attach(id, instanceId)];
  await cloud.volumes.attachments.complete(ada, first.id);
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'in-use' });
  expect(await cloud.volumes.attachments.remove(ada, first.id)).toMatchObject([{ id: second.id, status: 'attaching' }]);
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'attaching' });
  expect(await serversOf(id)).toHaveLength(1);
  expect(await cloud.volumes.attachments.remove(ada, second.id)).toEqual([]);
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'available' });
  expect(await serversOf(id)).toEqual([]);
});

it('all at once leave no server behind', async () => {
  const { id } = await cloud.volume(ada);
  const instanceId = newId();
  const made: Attachment[] = [];
  for (let count = 0; count < 4; count += 1) made.push(await attach(id, instanceId));
  await Promise.all(made.map((attachment) => cloud.volumes.attachments.remove(ada, attachment.id)));
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'available', attachments: [] });
  expect(await serversOf(id)).toEqual([]);
});

it('that are detached all at once by the older actions leave no server behind either', async () => {
  const { id } = await cloud.volume(ada);
  const instanceId = newId();
  const made: Attachment[] = [];
  for (let count = 0; count < 4; count += 1) made.push(await attach(id, instanceId));
  await Promise.all(made.map((attachment) => cloud.volumes.detach(ada, id, attachment.id)));
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'available', attachments: [] });
  expect(await serversOf(id)).toEqual([]);
});

it('of other instances, and of a volume that may only be read, are refused without a trace', async () => {
  const { id } = await cloud.volume(ada);
  await cloud.volumes.setReadonly(ada, id, true);
  await expect(attach(id, newId())).rejects.toMatchObject({ kind: 'bad-request' });
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'available', attachments: [] });
  await cloud.volumes.setReadonly(ada, id, false);
  await attach(id, newId());
  await expect(attach(id, newId())).rejects.toMatchObject({ kind: 'bad-request' });
  expect((await cloud.volumes.get(ada, id)).attachments).toHaveLength(1);
});

it('of an instance are not taken from it by giving up a reservation', async () => {
  const { id } = await cloud.volume(ada);
  await attach(id, newId());
  await cloud.volumes.unreserve(ada, id);
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'attaching' });
  await expect(attach(id, newId())).rejects.toMatchObject({ kind: 'bad-request' });
});

it('that go while something else has the volume are missing when it comes back', async () => {
  const { id } = await cloud.volume(ada);
  const { id: source } = await cloud.volume(ada);
  const image = await cloud.snapshot(ada, source);
  const reserved = await cloud.volumes.attachments.create(
    ada,
    { volumeId: id, instanceId: newId(), mode: null, connector: null },
    describeConnection,
  );
  const order = { volumeId: id, imageId: image.id, evenReserved: true };
  await Promise.all(
    [cloud.volumes.reimage(ada, order), cloud.volumes.attachments.remove(ada, reserved.id)].map((work) => work.catch(() => {})),
  );
  expect(await cloud.settledVolume(ada, id)).toMatchObject({ attachments: [] });
  expect(['available', 'reserved']).toContain((await cloud.volumes.get(ada, id)).status);
  await cloud.volumes.attachments.remove(ada, reserved.id).catch(() => {});
  await expect.poll(async () => (await cloud.volumes.get(ada, id)).status, { timeout: 5_000 }).toBe('available');
});

it('of which one is detached leave the volume to the others', async () => {
  const { id } = await cloud.volume(ada);
  const instanceId = newId();
  const [first, second] = [await attach(id, instanceId), await attach(id, instanceId)];
  for (const { id: attachmentId } of [first, second]) await cloud.volumes.attachments.complete(ada, attachmentId);
  await cloud.volumes.beginDetaching(ada, id);
  await cloud.volumes.detach(ada, id, first.id);
  expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'in-use', attachments: [{ id: second.id }] });
});
