import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Loopback, onLoopback } from '../../../../test/support/loopback.ts';
import { answerWithCinderFaults } from './cinder-fault.ts';
import { microversion, negotiateMicroversion, withinMinors } from './microversion.ts';

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

describe('with an older header of its own', () => {
  const older = 'X-OpenStack-Nova-API-Version';
  let compute: Loopback;
  beforeAll(async () => {
    compute = await onLoopback((app) => {
      answerWithCinderFaults(app);
      app.addHook('onRequest', negotiateMicroversion({ service: 'compute', lowest: '2.1', highest: '2.93', olderHeader: older }));
      app.get('/', async ({ microversion: { major, minor } }) => `${major}.${minor}`);
      app.get('/range', withinMinors(2, 10, 20), async () => 'there');
    });
  });
  afterAll(() => compute.close());

  it('takes either, the common one first, and answers with both', async () => {
    const both = await compute.call('GET', '/', { headers: { 'openstack-api-version': 'compute 2.20', [older]: '2.30' } });
    expect(both.text).toBe('2.20');
    expect(both.headers.get('openstack-api-version')).toBe('compute 2.20');
    expect(both.headers.get(older)).toBe('2.20');
    expect(both.headers.get('vary')).toBe(`OpenStack-API-Version, ${older}`);
    const others = await compute.call('GET', '/', { headers: { 'openstack-api-version': 'volume 3.70', [older]: 'latest' } });
    expect(others.text).toBe('2.93');
    expect((await compute.call('GET', '/', { headers: { 'openstack-api-version': 'volume 3.70' } })).text).toBe('2.1');
  });

  it('refuses what is no version, and one outside the range, in either', async () => {
    for (const [name, prefix] of [
      ['openstack-api-version', 'compute '],
      [older, ''],
    ] as const) {
      const statusOf = async (version: string) => (await compute.call('GET', '/', { headers: { [name]: prefix + version } })).status;
      expect(await statusOf('2.x')).toBe(400);
      expect(await statusOf('2.94')).toBe(406);
      expect(await statusOf('1.9')).toBe(406);
    }
  });

  it('has routes in a range of versions only', async () => {
    const statusOf = async (version: string) => (await compute.call('GET', '/range', { headers: { [older]: version } })).status;
    expect(await Promise.all(['2.9', '2.10', '2.20', '2.21'].map(statusOf))).toEqual([404, 200, 200, 404]);
  });
});

it('compares', () => {
  expect(microversion(3, 27).atLeast(3, 27)).toBe(true);
  expect(microversion(3, 9).atLeast(3, 27)).toBe(false);
  expect(microversion(4, 0).atLeast(3, 27)).toBe(true);
});
