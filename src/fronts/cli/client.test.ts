import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect } from './client.ts';
import type { CliInvocation } from './command.ts';
import { CliError, exitCodes } from './exit-codes.ts';

interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

type Reply = { readonly status: number; readonly body: unknown; readonly headers?: Record<string, string> };

let server: Server;
let origin: string;
let folder: string;
let received: Received[];
let replies: Record<string, Reply>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-client-'));
  received = [];
  server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      received.push({
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        body: text === '' ? undefined : JSON.parse(text),
      });
      const reply = replies[`${request.method} ${request.url}`] ?? { status: 404, body: { itemNotFound: { message: 'not there' } } };
      const body = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body);
      response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers }).end(body);
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const endpoint = (url: string, region = 'RegionOne') => ({ interface: 'public', region, url });
  const catalog = [
    { type: 'volumev3', endpoints: [endpoint('http://wrong.invalid', 'RegionTwo'), endpoint(`${origin}/volume/v3/p1`)] },
    { type: 'image', endpoints: [endpoint(`${origin}/image`)] },
    { type: 'stillpoint', endpoints: [endpoint(`${origin}/api/v1`)] },
  ];
  replies = {
    'POST /identity/v3/auth/tokens': {
      status: 201,
      body: { token: { project: { id: 'p1' }, catalog } },
      headers: { 'x-subject-token': 'the-token' },
    },
  };
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

const cloudsYaml = (auth: string, rest = '') =>
  `clouds:\n  stillpoint:\n    auth:\n      auth_url: ${origin}/identity\n${auth}\n    region_name: RegionOne\n${rest}`;
const password =
  '      username: ada\n      password: "secret"\n      project_name: lab\n      user_domain_name: Default\n      project_domain_id: default';

async function invocationWith(options: Partial<CliInvocation> = {}): Promise<CliInvocation> {
  return {
    values: {},
    positionals: [],
    format: 'table',
    color: false,
    out: () => {},
    err: () => {},
    stderr: { isTTY: false, columns: 80, write: () => {} },
    signal: new AbortController().signal,
    environment: { HOME: folder },
    stateDir: folder,
    cloud: undefined,
    ...options,
  };
}

const endOf = async (work: Promise<unknown>): Promise<CliError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CliError)) throw new Error(`not a CliError: ${error}`);
  return error;
};

describe('credentials', () => {
  it('come from the state directory when nothing else is named', async () => {
    await writeFile(join(folder, 'clouds.yaml'), cloudsYaml(password));
    const api = await connect(await invocationWith());
    expect(api.projectId).toBe('p1');
    expect(received[0]?.body).toEqual({
      auth: {
        identity: { methods: ['password'], password: { user: { name: 'ada', domain: { name: 'Default' }, password: 'secret' } } },
        scope: { project: { name: 'lab', domain: { id: 'default' } } },
      },
    });
  });

  it('come from the named file for a named cloud', async () => {
    const file = join(folder, 'mine.yaml');
    await writeFile(
      file,
      cloudsYaml('      application_credential_id: a1\n      application_credential_secret: s1').replace('stillpoint:', 'lab:'),
    );
    await connect(await invocationWith({ cloud: 'lab', environment: { HOME: folder, OS_CLIENT_CONFIG_FILE: file } }));
    expect(received[0]?.body).toEqual({
      auth: { identity: { methods: ['application_credential'], application_credential: { id: 'a1', secret: 's1' } } },
    });
  });

  it('come from the variables of an openrc', async () => {
    const environment = {
      OS_AUTH_URL: `${origin}/identity/v3`,
      OS_USERNAME: 'ada',
      OS_PASSWORD: 'secret',
      OS_PROJECT_ID: 'p1',
      OS_USER_DOMAIN_ID: 'default',
    };
    await connect(await invocationWith({ environment }));
    expect(received[0]?.body).toMatchObject({
      auth: { identity: { password: { user: { domain: { id: 'default' } } } }, scope: { project: { id: 'p1' } } },
    });
  });

  it('are asked for by name when they are missing', async () => {
    const error = await endOf(connect(await invocationWith({ cloud: 'other' })));
    expect(error.exitCode).toBe(exitCodes.notFound);
    expect(error.message).toContain("no credentials for cloud 'other'");
    await writeFile(join(folder, 'clouds.yaml'), cloudsYaml('      username: ada'));
    const incomplete = await endOf(connect(await invocationWith()));
    expect(incomplete.exitCode).toBe(exitCodes.usage);
    expect(incomplete.message).toContain('password is missing');
  });
});

describe('calls', () => {
  const connected = async () => {
    await writeFile(join(folder, 'clouds.yaml'), cloudsYaml(password));
    return await connect(await invocationWith());
  };

  it('go to the endpoint of the region in the catalog, with the token', async () => {
    replies['POST /volume/v3/p1/volumes?limit=1'] = { status: 202, body: { volume: { id: 'v1' } } };
    const api = await connected();
    const answer = await api.call('block-storage', 'POST', '/volumes', {
      body: { volume: {} },
      query: { limit: 1, marker: undefined },
      microversion: '3.60',
    });
    expect(answer).toEqual({ volume: { id: 'v1' } });
    expect(received[1]?.headers).toMatchObject({ 'x-auth-token': 'the-token', 'openstack-api-version': 'volume 3.60' });
    expect(api.addressOf('image')).toBe(`${origin}/image/v2`);
  });

  it('return nothing for an empty answer', async () => {
    replies['DELETE /api/v1/x'] = { status: 204, body: '' };
    expect(await (await connected()).call('native', 'DELETE', '/x')).toBeUndefined();
  });

  it.each([
    [404, { itemNotFound: { message: 'Volume x could not be found.' } }, exitCodes.notFound, 'Volume x could not be found.'],
    [
      400,
      { badRequest: { message: 'Invalid volume: status must be available' } },
      exitCodes.refused,
      'Invalid volume: status must be available',
    ],
    [413, { overLimit: { message: 'too much' } }, exitCodes.refused, 'too much'],
    [409, '<html><head><title>409 Conflict</title></head></html>', exitCodes.refused, '409 Conflict'],
    [403, {}, exitCodes.refused, 'the server answered 403'],
    [500, { computeFault: { message: 'broken' } }, exitCodes.failure, 'broken (req-1)'],
    [503, { error: { code: 'unavailable', message: 'starting' } }, exitCodes.unreachable, 'starting'],
  ])('turn an answer of %i into an exit code and the words of the server', async (status, body, exitCode, message) => {
    replies['GET /api/v1/x'] = { status, body, headers: { 'x-openstack-request-id': 'req-1' } };
    const error = await endOf((await connected()).call('native', 'GET', '/x'));
    expect({ exitCode: error.exitCode, message: error.message }).toEqual({ exitCode, message });
  });

  it('find a thing by its id, then by its one name', async () => {
    replies['GET /volume/v3/p1/volumes/v1'] = { status: 200, body: { volume: { id: 'v1' } } };
    replies['GET /volume/v3/p1/volumes/detail?name=disk'] = { status: 200, body: { volumes: [{ id: 'v2' }] } };
    replies['GET /volume/v3/p1/volumes/detail?name=twin'] = { status: 200, body: { volumes: [{ id: 'v3' }, { id: 'v4' }] } };
    replies['GET /volume/v3/p1/volumes/detail?name=none'] = { status: 200, body: { volumes: [] } };
    const api = await connected();
    const find = (name: string) => api.find<{ id: string }>('block-storage', '/volumes', 'volume', name);
    expect((await find('v1')).id).toBe('v1');
    expect((await find('disk')).id).toBe('v2');
    expect((await endOf(find('twin'))).message).toContain('more than one volume');
    expect((await endOf(find('none'))).exitCode).toBe(exitCodes.notFound);
  });

  it('say that nobody answers', async () => {
    const api = await connected();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const error = await endOf(api.call('native', 'GET', '/x'));
    expect(error.exitCode).toBe(exitCodes.unreachable);
    expect(error.message).toMatch(/no answer from http:\/\/127\.0\.0\.1:\d+: nothing listens there/);
  });
});
