import { afterAll, beforeAll, expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { type Person, startWire, type Wire } from '../support/block-storage-wire.ts';

/** What goes along with a volume that changes hands, and what must not. */

let wire: Wire;
let ada: Person;
let bob: Person;
let eve: Person;

beforeAll(async () => {
  wire = await startWire();
  [ada, bob, eve] = [await wire.member('ada'), await wire.member('bob'), await wire.member('eve')];
});
afterAll(() => wire.stop());

async function made(who: Person, collection: 'volumes' | 'snapshots', body: object): Promise<string> {
  const noun = collection.slice(0, -1);
  const answer = await wire.send(who, 'POST', `/${collection}`, { [noun]: body }, '3.70');
  expect(answer.status, JSON.stringify(answer.body)).toBe(202);
  const { id } = answer.body[noun];
  for (;;) {
    const { status } = (await wire.send(who, 'GET', `/${collection}/${id}`)).body[noun];
    if (status !== 'creating') {
      expect(status).toBe('available');
      return id;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function give(from: Person, to: Person, volumeId: string, noSnapshots: boolean): Promise<void> {
  const transfer = { volume_id: volumeId, no_snapshots: noSnapshots };
  const asked = await wire.send(from, 'POST', '/volume-transfers', { transfer }, '3.55');
  expect(asked.status, JSON.stringify(asked.body)).toBe(202);
  const { id, auth_key } = asked.body.transfer;
  const accepted = await wire.send(to, 'POST', `/volume-transfers/${id}/accept`, { accept: { auth_key } }, '3.55');
  expect(accepted.status, JSON.stringify(accepted.body)).toBe(202);
}

const statusFor = async (who: Person, path: string): Promise<number> => (await wire.send(who, 'GET', path)).status;

it('snapshots that a giver kept are not given away by those who got the volume', async () => {
  const volumeId = await made(ada, 'volumes', { size: 1 });
  const kept = await made(ada, 'snapshots', { volume_id: volumeId });
  await give(ada, bob, volumeId, true);
  const own = await made(bob, 'snapshots', { volume_id: volumeId });
  await give(bob, eve, volumeId, false);
  expect([await statusFor(eve, `/volumes/${volumeId}`), await statusFor(eve, `/snapshots/${own}`)]).toEqual([200, 200]);
  expect([await statusFor(ada, `/snapshots/${kept}`), await statusFor(eve, `/snapshots/${kept}`)]).toEqual([200, 404]);
  expect(await statusFor(bob, `/snapshots/${own}`)).toBe(404);
});

it('a kept snapshot is of the volume as it was', async () => {
  const volumeId = await made(ada, 'volumes', { size: 1 });
  const act = (who: Person, action: object) => wire.send(who, 'POST', `/volumes/${volumeId}/action`, action);
  expect((await act(ada, { 'os-set_image_metadata': { metadata: { os: 'then' } } })).status).toBe(200);
  const kept = await made(ada, 'snapshots', { volume_id: volumeId });
  await give(ada, bob, volumeId, true);
  expect((await act(bob, { 'os-set_image_metadata': { metadata: { os: 'now', secret: 'of bob' } } })).status).toBe(200);
  expect((await act(bob, { 'os-set_bootable': { bootable: true } })).status).toBe(200);
  const copy = await made(ada, 'volumes', { snapshot_id: kept });
  const { volume } = (await wire.send(ada, 'GET', `/volumes/${copy}`)).body;
  expect(volume).toMatchObject({ bootable: 'false', volume_image_metadata: { os: 'then' } });
});

it('a transfer is known by its id as it was written, and by its key', async () => {
  const volumeId = await made(ada, 'volumes', { size: 1 });
  const { id, auth_key } = (await wire.send(ada, 'POST', '/os-volume-transfer', { transfer: { volume_id: volumeId } })).body.transfer;
  const accept = (of: string, key: string) => wire.send(bob, 'POST', `/os-volume-transfer/${of}/accept`, { accept: { auth_key: key } });
  expect((await accept(newId(), auth_key)).status).toBe(404);
  expect((await accept(id.toUpperCase(), auth_key)).status).toBe(404);
  expect((await accept(id, 'wrong')).status).toBe(400);
  expect((await accept(id, auth_key)).status).toBe(202);
});
