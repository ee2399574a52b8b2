import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Loopback, onLoopback } from '../../../../test/support/loopback.ts';
import { answerWithCinderFaults } from './cinder-fault.ts';
import { microversion, negotiateMicroversion } from './microversion.ts';

let server: Loopback;
beforeAll(async () => {
  server = await onLoopback((app) => {
    answerWithCinderFaults(app);
    app.addHook('onRequest', negotiateMicroversion({ service: 'volume', lowest: '3.0', highest: '3.70' }));
    app.get('/', async ({ microversion: { major, minor } }) => `${major}.${minor}`);
  });
});
afterAll(() => server.close());

const ask = (header?: string) => server.call('GET', '/', header === undefined ? {} : { headers: { 'openstack-api-version': header } });

it('gives the lowest version to who asks for none', async () => {
  const { text, headers } = await ask();
  expect(text).toBe('3.0');
  expect(headers.get('openstack-api-version')).toBe('volume 3.0');
  expect(headers.get('vary')).toBe('OpenStack-API-Version');
});

it('finds its own service in a list', async () => {
  expect((await ask('compute 2.1, volume 3.27')).text).toBe('3.27');
  expect((await ask('volume  latest')).text).toBe('3.70');
});

it('refuses versions outside the range', async () => {
  for (const version of ['3.71', '2.5', '4.0']) {
    const { status, json, headers } = await ask(`volume ${version}`);
    expect(status).toBe(406);
    expect(json.computeFault.message).toBe(`Version ${version} is not supported by the API. Minimum is 3.0 and maximum is 3.70.`);
    expect(headers.get('vary')).toBe('OpenStack-API-Version');
  }
});

it('refuses what is no version, and a header that does not speak of it', async () => {
  for (const header of ['volume', 'volume 3', 'volume 3.01', 'volume 3.x', 'volume 3.1 3.2']) expect((await ask(header)).status).toBe(400);
  expect((await ask('compute 2.1')).status).toBe(404);
});

it('compares', () => {
  expect(microversion(3, 27).atLeast(3, 27)).toBe(true);
  expect(microversion(3, 9).atLeast(3, 27)).toBe(false);
  expect(microversion(4, 0).atLeast(3, 27)).toBe(true);
});
