import { createReadStream, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'yaml';

/**
 * The public APIs over plain HTTP, for tests that make more calls than a command-line client could in their time.
 */
// biome-ignore lint/suspicious/noExplicitAny: answers of the API under test; the assertions look into them
export type Answer = any;

export interface Api {
  readonly projectId: string;
  readonly token: string;
  /** One call below a service's prefix, e.g. `volume('POST', '/volumes', {...})`. Throws on 400 and more. */
  volume(method: string, path: string, body?: unknown): Promise<Answer>;
  image(method: string, path: string, body?: unknown): Promise<Answer>;
  compute(method: string, path: string, body?: unknown): Promise<Answer>;
  /** The same without throwing. */
  raw(method: string, path: string, body?: unknown): Promise<{ status: number; body: Answer }>;
  upload(imageId: string, bytes: Buffer): Promise<number>;
  uploadFile(imageId: string, path: string): Promise<number>;
  /** Polls a volume, snapshot or backup until its status is settled, and returns it; undefined when it is gone. */
  settled(collection: 'volumes' | 'snapshots' | 'backups', id: string, timeoutMs?: number): Promise<Answer | undefined>;
}

const transient = new Set([
  'creating',
  'downloading',
  'deleting',
  'backing-up',
  'restoring',
  'restoring-backup',
  'reverting',
  'extending',
  'uploading',
  'attaching',
  'detaching',
]);
const singular = { volumes: 'volume', snapshots: 'snapshot', backups: 'backup' } as const;

/** As the administrator, in the project `admin` unless another is named. */
export async function signIn(service: { readonly url: string; readonly stateDir: string }, projectName?: string): Promise<Api> {
  const { auth } = parse(await readFile(join(service.stateDir, 'clouds.yaml'), 'utf8')).clouds.stillpoint;
  const answer = await fetch(`${service.url}/identity/v3/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      auth: {
        identity: {
          methods: ['password'],
          password: { user: { name: auth.username, domain: { name: 'Default' }, password: auth.password } },
        },
        scope: { project: { name: projectName ?? auth.project_name, domain: { name: 'Default' } } },
      },
    }),
  });
  if (answer.status !== 201) throw new Error(`sign-in: ${answer.status} ${await answer.text()}`);
  const token = answer.headers.get('x-subject-token') ?? '';
  const projectId = ((await answer.json()) as Answer).token.project.id as string;

  const send = async (method: string, path: string, body: unknown, headers: Record<string, string>) => {
    const init: RequestInit = { method, headers: { 'x-auth-token': token, ...headers } };
    if (body !== undefined) init.body = body instanceof Buffer ? body : JSON.stringify(body);
    const reply = await fetch(`${service.url}${path}`, init);
    const text = await reply.text();
    return { status: reply.status, body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text };
  };
  const raw = (method: string, path: string, body?: unknown) =>
    send(method, path, body, { 'content-type': 'application/json', 'openstack-api-version': 'volume 3.70' });
  const must = async (method: string, path: string, body?: unknown) => {
    const reply = await raw(method, path, body);
    if (reply.status >= 400) throw new Error(`${method} ${path}: ${reply.status} ${JSON.stringify(reply.body)}`);
    return reply.body;
  };

  return {
    projectId,
    token,
    raw,
    volume: (method, path, body) => must(method, `/volume/v3${path}`, body),
    image: (method, path, body) => must(method, `/image/v2${path}`, body),
    compute: (method, path, body) => must(method, `/compute/v2.1${path}`, body),
    upload: async (imageId, bytes) =>
      (await send('PUT', `/image/v2/images/${imageId}/file`, bytes, { 'content-type': 'application/octet-stream' })).status,
    uploadFile: (imageId, path) => uploadFile(`${service.url}/image/v2/images/${imageId}/file`, path, token),
    async settled(collection, id, timeoutMs = 60_000) {
      const deadline = performance.now() + timeoutMs;
      for (;;) {
        const reply = await raw('GET', `/volume/v3/${collection}/${id}`);
        if (reply.status === 404) return undefined;
        const resource = reply.body[singular[collection]];
        if (!transient.has(resource.status)) return resource;
        if (performance.now() > deadline) throw new Error(`${collection} ${id} is still ${resource.status}`);
        await sleep(20);
      }
    },
  };
}

/** Through a plain request: `fetch` gives up on bodies of several GiB. */
async function uploadFile(url: string, path: string, token: string): Promise<number> {
  const headers = { 'x-auth-token': token, 'content-type': 'application/octet-stream', 'content-length': statSync(path).size };
  const sending = request(url, { method: 'PUT', headers, agent: false });
  const status = new Promise<number>((done, fail) => {
    sending.once('error', fail).once('response', (reply) => {
      reply.resume();
      done(reply.statusCode ?? 0);
    });
  });
  await Promise.all([pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), sending), status]);
  return await status;
}
