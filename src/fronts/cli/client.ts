/** A small client of the public APIs: a token, the catalog, JSON calls, and every failure as an exit code. */
import type { CliInvocation } from './command.ts';
import { type CloudCredentials, findCredentials } from './credentials.ts';
import { CliError, type ExitCode, exitCodes, failure, notFoundError } from './exit-codes.ts';

/** What a command calls; `native` is the API that has no counterpart elsewhere (catalog type `stillpoint`). */
export type ApiName = 'identity' | 'block-storage' | 'image' | 'native';

const catalogTypes: Readonly<Record<ApiName, readonly string[]>> = {
  identity: ['identity'],
  'block-storage': ['block-storage', 'volumev3', 'volume'],
  image: ['image'],
  native: ['stillpoint'],
};

export interface CallOptions {
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** A microversion of Block Storage, e.g. `3.60`. */
  readonly microversion?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ApiClient {
  readonly projectId: string | undefined;
  /** Where the catalog says that an API is. */
  addressOf(api: ApiName): string;
  /**
   * Calls `path` (it begins with `/` and is relative to the endpoint in the catalog) and returns the parsed answer; undefined when there is none.
   * An answer of 400 or more is thrown as a `CliError` with the server's own words.
   */
  call<Answer>(api: ApiName, method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, options?: CallOptions): Promise<Answer>;
  /** One thing by id, else by its unique name: `find('block-storage', '/volumes', 'volume', 'disk-1')`. */
  find<Resource extends { readonly id: string }>(api: ApiName, collection: string, noun: string, nameOrId: string): Promise<Resource>;
}

interface Catalog {
  readonly token: string;
  readonly projectId: string | undefined;
  readonly urls: ReadonlyMap<string, string>;
}

const callTimeoutMs = 60_000;

/** Signs in, and keeps the token for the length of one command. */
export async function connect(invocation: CliInvocation): Promise<ApiClient> {
  const credentials = await findCredentials(invocation);
  const catalog = await signIn(credentials, invocation.signal);

  const call = async <Answer>(api: ApiName, method: string, path: string, options: CallOptions = {}): Promise<Answer> => {
    const url = new URL(`${endpointOf(catalog, api)}${path}`);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const headers: Record<string, string> = { 'x-auth-token': catalog.token, accept: 'application/json', ...options.headers };
    if (options.microversion !== undefined) headers['openstack-api-version'] = `volume ${options.microversion}`;
    if (options.body !== undefined) headers['content-type'] = 'application/json';
    const body = options.body === undefined ? null : JSON.stringify(options.body);
    const answer = await send(url, { method, headers, body }, invocation.signal);
    return answer.body as Answer;
  };

  return {
    projectId: catalog.projectId,
    addressOf: (api) => endpointOf(catalog, api),
    call,
    async find<Resource extends { readonly id: string }>(api: ApiName, collection: string, noun: string, nameOrId: string) {
      const plural = collection.slice(collection.lastIndexOf('/') + 1);
      try {
        const answer = await call<Record<string, unknown>>(api, 'GET', `${collection}/${encodeURIComponent(nameOrId)}`);
        return (answer[noun] ?? answer) as Resource;
      } catch (error) {
        if (!(error instanceof CliError) || error.exitCode !== exitCodes.notFound) throw error;
      }
      const listPath = api === 'block-storage' ? `${collection}/detail` : collection;
      const list = await call<Record<string, readonly Resource[]>>(api, 'GET', listPath, { query: { name: nameOrId } });
      const found = list[plural] ?? [];
      const [only] = found;
      if (only === undefined) throw notFoundError(`no ${noun} with the name or id '${nameOrId}'`);
      if (found.length > 1) throw failure(`more than one ${noun} is called '${nameOrId}': use its id`);
      return only;
    },
  };
}

function endpointOf(catalog: Catalog, api: ApiName): string {
  for (const type of catalogTypes[api]) {
    const url = catalog.urls.get(type);
    // Image publishes the address above its versions.
    if (url !== undefined) return api === 'image' && !/\/v2$/.test(url) ? `${url}/v2` : url;
  }
  throw failure(`this cloud offers no ${api === 'native' ? 'Stillpoint' : api} API`);
}

interface TokenAnswer {
  readonly token?: {
    readonly project?: { readonly id: string };
    readonly catalog?: readonly {
      readonly type: string;
      readonly endpoints: readonly { readonly interface: string; readonly region?: string | null; readonly url: string }[];
    }[];
  };
}

async function signIn(credentials: CloudCredentials, signal: AbortSignal): Promise<Catalog> {
  const headers = { 'content-type': 'application/json', accept: 'application/json' };
  const body = JSON.stringify({ auth: credentials.auth });
  const answer = await send(new URL(`${credentials.authUrl}/auth/tokens`), { method: 'POST', headers, body }, signal);
  const token = answer.headers.get('x-subject-token');
  const { token: details } = (answer.body ?? {}) as TokenAnswer;
  if (token === null || details === undefined) throw failure(`${credentials.authUrl} is no identity service`);
  const urls = new Map<string, string>();
  for (const service of details.catalog ?? []) {
    const publicEndpoints = service.endpoints.filter((endpoint) => endpoint.interface === 'public');
    const endpoint = publicEndpoints.find(({ region }) => credentials.region === undefined || region === credentials.region);
    if (endpoint !== undefined) urls.set(service.type, endpoint.url.replace(/\/+$/, ''));
  }
  return { token, projectId: details.project?.id, urls };
}

interface Answer {
  readonly headers: Headers;
  readonly body: unknown;
}

async function send(
  url: URL,
  init: { method: string; headers: Record<string, string>; body: string | null },
  signal: AbortSignal,
): Promise<Answer> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { ...init, redirect: 'follow', signal: AbortSignal.any([signal, AbortSignal.timeout(callTimeoutMs)]) });
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw new CliError(exitCodes.interrupted, 'interrupted');
    throw new CliError(exitCodes.unreachable, `no answer from ${url.origin}: ${reasonOf(error)}`, { cause: error });
  }
  const body = parsed(text);
  if (response.status >= 400) throw refusal(response.status, body, response.headers.get('x-openstack-request-id'));
  return { headers: response.headers, body };
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return 'nothing listens there (is the service running?)';
  if (cause.name === 'TimeoutError') return `nothing within ${callTimeoutMs / 1000} s`;
  return cause.message || code || cause.name;
}

function parsed(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function refusal(status: number, body: unknown, requestId: string | null): CliError {
  const message = messageIn(body) ?? `the server answered ${status}`;
  if (status >= 500 && status !== 503) {
    return new CliError(exitCodes.failure, requestId === null ? message : `${message} (${requestId})`);
  }
  return new CliError(exitCodeOf(status), message);
}

function exitCodeOf(status: number): ExitCode {
  if (status === 404) return exitCodes.notFound;
  if (status === 503) return exitCodes.unreachable;
  return exitCodes.refused;
}

/** `{"<kind>": {"message": …}}`, `{"error": {…}}`, `{"message": …}`, or the title of an HTML page: the envelopes that clouds answer with. */
function messageIn(body: unknown): string | undefined {
  if (typeof body === 'string') return /<title>(.*?)<\/title>/s.exec(body)?.[1];
  if (typeof body !== 'object' || body === null) return undefined;
  const own = (body as { message?: unknown }).message;
  if (typeof own === 'string') return own;
  for (const member of Object.values(body)) {
    const message = typeof member === 'object' && member !== null ? (member as { message?: unknown }).message : undefined;
    if (typeof message === 'string') return message;
  }
  return undefined;
}
