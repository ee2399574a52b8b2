import { request as httpRequest } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Loopback, onLoopback } from '../../../../test/support/loopback.ts';
import { SpaceError } from '../../../engine/space/contract.ts';
import { badRequest, overLimit } from '../../../lib/errors.ts';
import { answerWithCinderFaults } from './cinder-fault.ts';
import { answerWithGlanceErrors, preferredForm } from './glance-error.ts';
import { acceptJson } from './json-parser.ts';
import { answerWithKeystoneErrors } from './keystone-error.ts';
import { nameRequests } from './request-id.ts';

function service(prefix: string, answerErrors: (app: FastifyInstance) => void): (app: FastifyInstance) => void {
  return (root) => {
    root.register(
      (app, _options, done) => {
        nameRequests(app);
        answerErrors(app);
        acceptJson(app, { contentTypes: ['application/json'], brokenMessage: 'cannot understand JSON' });
        app.post('/things/:id/echo', async (request) => ({ body: request.body ?? 'nothing' }));
        app.get('/refused', async () => {
          throw badRequest('Invalid <thing>');
        });
        app.get('/full', async () => {
          throw overLimit('Too many');
        });
        app.get('/no-space', async () => {
          throw new SpaceError('Not enough space: 2 MiB are needed, 1 MiB are free.');
        });
        app.get('/outage/:code', async (request) => {
          const { code } = request.params as { code: string };
          throw Object.assign(new Error('could not extend file "base/16384"'), code === 'connect' ? { syscall: code } : { code });
        });
        app.get('/defect', async () => {
          throw new Error('password=hunter2');
        });
        done();
      },
      { prefix },
    );
  };
}

let server: Loopback;

beforeAll(async () => {
  server = await onLoopback((app) => {
    service('/volume', answerWithCinderFaults)(app);
    service('/image', answerWithGlanceErrors)(app);
    service('/identity', (front) => answerWithKeystoneErrors(front, { publicUrl: undefined }))(app);
  });
});
afterAll(() => server.close());

describe('every service', () => {
  it('names each request in both headers, also for unknown routes', async () => {
    for (const path of ['/volume/refused', '/volume/nowhere', '/image/nowhere', '/identity/nowhere']) {
      const { headers } = await server.call('GET', path);
      expect(headers.get('x-openstack-request-id')).toMatch(/^req-[0-9a-f-]{36}$/);
      expect(headers.get('x-compute-request-id')).toBe(headers.get('x-openstack-request-id'));
    }
  });

  it.each([
    ['53100', 'The disk of the service is full.'],
    ['57P03', 'The database does not answer just now.'],
    ['08006', 'The database does not answer just now.'],
    ['connect', 'The database does not answer just now.'],
  ])('answers 503 while the database is full or away (%s)', async (code, message) => {
    for (const prefix of ['/volume', '/image', '/identity']) {
      const { status, text } = await server.call('GET', `${prefix}/outage/${code}`);
      expect(status).toBe(503);
      expect(text).toContain(message);
      expect(text).not.toContain('16384');
    }
  });

  it('answers 503 with the figures when there is no space', async () => {
    const { status, text } = await server.call('GET', '/volume/no-space');
    expect(status).toBe(503);
    expect(JSON.parse(text)).toEqual({ serviceUnavailable: { code: 503, message: 'Not enough space: 2 MiB are needed, 1 MiB are free.' } });
  });

  it('never shows what went wrong inside', async () => {
    for (const prefix of ['/volume', '/image', '/identity']) {
      const { status, text } = await server.call('GET', `${prefix}/defect`);
      expect(status).toBe(500);
      expect(text).not.toContain('hunter2');
    }
  });
});

describe('block storage', () => {
  it('wraps a refusal into a fault named after the code', async () => {
    const { status, json } = await server.call('GET', '/volume/refused');
    expect(status).toBe(400);
    expect(json).toEqual({ badRequest: { code: 400, message: 'Invalid <thing>' } });
  });

  it('adds a time to wait when a limit is reached', async () => {
    const { headers, json } = await server.call('GET', '/volume/full');
    expect(json).toEqual({ overLimit: { code: 413, message: 'Too many', retryAfter: '0' } });
    expect(headers.get('retry-after')).toBe('0');
  });

  it('calls an unknown path not found and a wrong method bad', async () => {
    expect((await server.call('GET', '/volume/nowhere')).json.itemNotFound.code).toBe(404);
    const wrong = await server.call('DELETE', '/volume/things/1/echo?x=1');
    expect(wrong.status).toBe(405);
    expect(wrong.json.badMethod.code).toBe(405);
    expect(wrong.headers.get('allow')).toBe('POST');
    const headers = { 'content-type': 'application/json' };
    expect((await server.call('DELETE', '/volume/nowhere', { headers })).status).toBe(404);
    expect((await server.call('DELETE', '/volume/things/1/echo', { headers, body: '{' })).status).toBe(405);
  });
});

describe('bodies', () => {
  const post = (body: string, type = 'application/json') =>
    server.call('POST', '/volume/things/1/echo', { body, headers: { 'content-type': type } });

  it('hand JSON on as it is, and an empty body as nothing', async () => {
    expect((await post('{"a": [1, "1", null]}')).json).toEqual({ body: { a: [1, '1', null] } });
    expect((await post(' ')).json).toEqual({ body: 'nothing' });
  });

  it('are refused when they are no JSON', async () => {
    expect((await post('{"a":')).json.badRequest.message).toBe('cannot understand JSON');
  });

  it('are refused when PostgreSQL could not store their text', async () => {
    for (const body of ['{"a":"\\u0000"}', '{"\\ud800":1}', '{"__proto__":{}}', `${'['.repeat(100)}${']'.repeat(100)}`]) {
      expect((await post(body)).status).toBe(400);
    }
  });

  it('are refused when they are of another type or too large', async () => {
    expect((await post('a=b', 'application/x-www-form-urlencoded')).json.badMediaType.code).toBe(415);
    const large = await post(`"${'x'.repeat(120_000)}"`);
    expect(large.status).toBe(413);
    expect(large.json.overLimit.message).toBe('Request is too large.');
  });

  it('and queries do not smuggle a NUL', async () => {
    expect((await server.call('GET', '/volume/refused?name=%00')).json.badRequest.message).toBe('Malformed request url');
  });
});

describe('image', () => {
  it('answers in the form that the client prefers', async () => {
    const json = await server.call('GET', '/image/refused', { headers: { accept: 'application/json' } });
    expect(json.json).toEqual({ message: 'Invalid <thing>', code: '400 Bad Request', title: 'Bad Request' });
    const html = await server.call('GET', '/image/refused', { headers: { accept: '*/*' } });
    expect(html.headers.get('content-type')).toContain('text/html');
    expect(html.text).toContain('<title>400 Bad Request</title>');
    expect(html.text).toContain('Invalid &lt;thing&gt;');
  });

  it('weighs an Accept header', () => {
    expect(preferredForm(undefined)).toBe('text');
    expect(preferredForm('text/plain')).toBe('text');
    expect(preferredForm('text/html;q=0.5, application/json')).toBe('json');
    expect(preferredForm('application/*;q=0.5, */*;q=0.9')).toBe('html');
    expect(preferredForm('*/*, text/html;q=0')).toBe('json');
  });
});

describe('identity', () => {
  it('puts refusals into its own envelope', async () => {
    const { json } = await server.call('GET', '/identity/refused');
    expect(json).toEqual({ error: { code: 400, message: 'Invalid <thing>', title: 'Bad Request' } });
  });

  it('answers unknown paths with a page and wrong methods with a message', async () => {
    const unknown = await server.call('GET', '/identity/nowhere');
    expect(unknown.status).toBe(404);
    expect(unknown.headers.get('content-type')).toContain('text/html');
    expect((await server.call('PUT', '/identity/refused')).json).toEqual({
      message: 'The method is not allowed for the requested URL.',
    });
  });

  it('calls another content type a bad request', async () => {
    const { status, json } = await server.call('POST', '/identity/things/1/echo', { body: 'x', headers: { 'content-type': 'text/plain' } });
    expect(status).toBe(400);
    expect(json.error.message).toContain('Expecting to find application/json in Content-Type header.');
  });
});

it('a delete with a content type and no body is fine', async () => {
  const status = await new Promise((resolve, reject) => {
    const options = { method: 'DELETE', headers: { 'content-type': 'application/json' } };
    httpRequest(`${server.url}/volume/nowhere`, options, (answer) => resolve(answer.resume().statusCode))
      .on('error', reject)
      .end();
  });
  expect(status).toBe(404);
});
