import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cloudWithNothing } from '../../test/support/routes.ts';
import { buildFrontDoor } from './front-door.ts';

const app = buildFrontDoor({ publicUrl: undefined, cloud: cloudWithNothing, log: pino({ level: 'silent' }) });
let port: number;
beforeAll(async () => {
  port = Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port);
});
afterAll(() => app.close());

/** The status of the answer to a request whose address no client library changes on its way. */
async function statusOf(address: string): Promise<number> {
  const socket = connect(port, '127.0.0.1');
  socket.end(`GET ${address} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`);
  return Number((await text(socket)).split(' ', 2)[1]);
}

test('an address with a fragment is refused, whichever API it names: the router would serve what stands before it', async () => {
  for (const path of ['/volume/', '/image/', '/identity/', '/compute/']) {
    expect(await statusOf(path), path).toBeLessThan(400);
    for (const fragment of ['#', '#/v3/x', '?a#b', '.json#']) expect(await statusOf(`${path}${fragment}`), path + fragment).toBe(400);
  }
  for (const path of ['/nowhere#', '/#', '/api/v1/x#y', 'http://127.0.0.1/volume/#x']) expect(await statusOf(path), path).toBe(400);
  expect(await statusOf('/nowhere')).toBe(404);
});

test('what Compute calls 2.0 is served as 2.1', async () => {
  for (const path of ['/compute/v2', '/compute/v2/', '/compute/v2?x']) expect(await statusOf(path), path).toBe(200);
  expect(await statusOf('/compute/v2/servers')).toBe(401);
  expect(await statusOf('/compute/v3')).toBe(300);
  expect(await statusOf('/compute/v3/servers')).toBe(404);
});
