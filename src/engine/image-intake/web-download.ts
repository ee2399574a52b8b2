/**
 * Fetches the bytes of an image from the address that a user names. The request leaves from inside the operator's network, so the user
 * must not be able to point it there: only http and https, only public addresses and the usual ports unless the operator allows more, no
 * redirects, no credentials. A name is resolved once, all its addresses are looked at, and the connection goes to just those.
 *
 * What users are told does not say which of their guesses about the network was right.
 */
import { lookup } from 'node:dns';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { badRequest, ProductError } from '../../lib/errors.ts';
import { addressFilter, type DownloadRules } from './web-addresses.ts';

export interface WebDownload {
  /** Why this address is refused whatever is behind it; undefined: it may be tried. */
  refusalOf(uri: string): string | undefined;
  /** The bytes behind an address; rejects with a `ProductError`. The body has to be closed. */
  open(uri: string, options: { readonly signal: AbortSignal }): Promise<WebBody>;
}

export interface WebBody {
  readonly stream: AsyncIterable<Uint8Array>;
  /** What the sender announced, when it did. */
  readonly expectedBytes: number | undefined;
  /** Ends the connection; needed unless the stream was read to its end. */
  close(): void;
}

/** How long a sender may be how slow. */
export interface Patience {
  /** Until so much time has passed, anything will do. */
  readonly graceMs: number;
  /** On the average from the beginning on. */
  readonly bytesPerSecondMin: number;
}

const silenceMsMax = 60_000;
/** A sender that drips keeps others waiting for their turn. */
const usualPatience: Patience = { graceMs: 120_000, bytesPerSecondMin: 32 * 1024 };
const uriLengthMax = 2048;

export function createWebDownload(rules: DownloadRules, patience = usualPatience): WebDownload {
  const isAllowed = addressFilter(rules.allowedNetworks);

  function parse(uri: string): URL | string {
    const url = uri.length > uriLengthMax ? null : URL.parse(uri);
    if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return 'it is no http or https address';
    if (url.username !== '' || url.password !== '') return 'it holds credentials';
    const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
    if (!rules.allowedPorts.includes(port)) return 'its port is not allowed';
    const host = hostOf(url);
    if (isIP(host) !== 0 && !isAllowed(host)) return 'its address is not allowed';
    return url;
  }

  /** Stands in for the resolver of the connection: what it does not hand on cannot be reached. */
  const checkedLookup: LookupFunction = (host, options, done) => {
    lookup(host, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null) return done(error, '');
      if (first === undefined || !addresses.every(({ address }) => isAllowed(address)))
        return done(new Error(`${host} is not allowed`), '');
      if (options.all === true) done(null, addresses);
      else done(null, first.address, first.family);
    });
  };

  return {
    refusalOf(uri) {
      const parsed = parse(uri);
      return typeof parsed === 'string' ? parsed : undefined;
    },
    async open(uri, { signal }) {
      const url = parse(uri);
      if (typeof url === 'string') throw badRequest(`The image cannot be downloaded: ${url}.`);
      const { request, response } = await ask(url, checkedLookup, signal);
      try {
        checkAnswer(response);
        const expectedBytes = announcedBytes(response);
        return { stream: bodyOf(request, response, patience), expectedBytes, close: () => void request.destroy() };
      } catch (error) {
        request.destroy();
        throw error;
      }
    },
  };
}

const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, '$1');

function ask(url: URL, checkedLookup: LookupFunction, signal: AbortSignal): Promise<{ request: ClientRequest; response: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const headers = { accept: '*/*', 'accept-encoding': 'identity', 'user-agent': 'stillpoint' };
    const request = send(url, { agent: false, lookup: checkedLookup, signal, headers, timeout: silenceMsMax });
    request.once('timeout', () => request.destroy(new Error('silence')));
    request.once('response', (response) => resolve({ request, response }));
    request.on('error', (error) => reject(signal.aborted ? signal.reason : unreachable(error)));
    request.end();
  });
}

const unreachable = (cause: unknown): ProductError =>
  badRequest('The image cannot be downloaded: its address does not answer, or is not allowed.', cause);

function checkAnswer({ statusCode = 0, headers }: IncomingMessage): void {
  if (statusCode >= 300 && statusCode < 400) throw badRequest('The image cannot be downloaded: redirects are not followed.');
  if (statusCode !== 200) throw badRequest(`The image cannot be downloaded: the server answered ${statusCode}.`);
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') throw badRequest('The image cannot be downloaded: the server sends it compressed.');
}

function announcedBytes({ headers }: IncomingMessage): number | undefined {
  const length = Number(headers['content-length']);
  return Number.isSafeInteger(length) && length >= 0 ? length : undefined;
}

async function* bodyOf(
  request: ClientRequest,
  response: IncomingMessage,
  { graceMs, bytesPerSecondMin }: Patience,
): AsyncGenerator<Uint8Array> {
  const begunAt = performance.now();
  let bytes = 0;
  try {
    for await (const piece of response) {
      bytes += piece.length;
      const passedMs = performance.now() - begunAt;
      if (passedMs > graceMs && bytes < (passedMs / 1000) * bytesPerSecondMin)
        throw badRequest('The image cannot be downloaded: the server sends it too slowly.');
      yield piece;
    }
  } catch (error) {
    throw error instanceof ProductError ? error : badRequest('The image cannot be downloaded: the connection was lost.', error);
  } finally {
    request.destroy();
  }
}
