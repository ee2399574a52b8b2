import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, expect, test } from 'vitest';
import { addressFilter, isPublicAddress, networkList } from './web-addresses.ts';
import { createWebDownload } from './web-download.ts';

const signal = new AbortController().signal;
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function serve(answer: RequestListener): Promise<number> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return (server.address() as AddressInfo).port;
}

const localOnly = (port: number) => createWebDownload({ allowedNetworks: ['127.0.0.1'], allowedPorts: [port] });

test.each([
  ...['127.0.0.1', '127.9.9.9', '0.0.0.0', '10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1', '169.254.169.254', '100.64.0.1'],
  ...['224.0.0.1', '255.255.255.255', '198.18.0.1', '::', '::1', '::ffff:127.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', 'fe80::1', 'fc00::1'],
  ...['fd00::1', 'ff02::1', '64:ff9b::7f00:1', '2002:7f00:1::', '2001::1', '2001:db8::1', 'fe80::1%lo', 'localhost', ''],
])('%s is not public', (address) => {
  expect(isPublicAddress(address)).toBe(false);
});

test.each(['8.8.8.8', '1.1.1.1', '172.32.0.1', '100.128.0.1', '2606:4700::1', '2a00:1450::1'])('%s is public', (address) => {
  expect(isPublicAddress(address)).toBe(true);
});

test('an operator may allow networks, and what is none is refused', () => {
  const isAllowed = addressFilter(['10.1.0.0/16', 'fd00::/8', '192.168.5.7']);
  expect(['10.1.2.3', 'fd00::1', '192.168.5.7', '8.8.8.8'].map(isAllowed)).toEqual([true, true, true, true]);
  expect(['10.2.0.1', 'fe80::1', '192.168.5.8'].map(isAllowed)).toEqual([false, false, false]);
  for (const network of ['10.0.0.0/33', 'x', '10.0.0.0/8/8', '10.0.0.0/', 'fd00::/129'])
    expect(() => networkList([network])).toThrow(network);
});

test.each([
  'file:///etc/passwd',
  'ftp://example.org/x',
  'gopher://example.org',
  'http://user:password@example.org/',
  'http://example.org:22/',
  'http://127.0.0.1/',
  'http://0x7f000001/',
  'http://2130706433/',
  'http://127.1/',
  'http://[::1]/',
  'http://[::ffff:127.0.0.1]/',
  'https://169.254.169.254/latest/meta-data',
  'no address',
])('%s is refused before anything is sent', (uri) => {
  expect(createWebDownload({ allowedNetworks: [], allowedPorts: [80, 443] }).refusalOf(uri)).toBeTypeOf('string');
});

test('a name that leads to this machine is refused where it is resolved, and the refusal says no more than that', async () => {
  let asked = 0;
  const port = await serve((_request, response) => {
    asked += 1;
    response.end('secret');
  });
  const download = createWebDownload({ allowedNetworks: [], allowedPorts: [port] });
  const uri = `http://localhost:${port}/`;
  expect(download.refusalOf(uri)).toBeUndefined();
  await expect(download.open(uri, { signal })).rejects.toMatchObject({
    kind: 'bad-request',
    message: expect.stringContaining('does not answer, or is not allowed'),
  });
  expect(asked).toBe(0);
});

test('what is allowed arrives, with the length that was announced', async () => {
  const port = await serve((_request, response) => response.setHeader('content-length', 5).end('bytes'));
  const body = await localOnly(port).open(`http://127.0.0.1:${port}/image`, { signal });
  expect(body.expectedBytes).toBe(5);
  expect((await buffer(Readable.from(body.stream))).toString()).toBe('bytes');
});

test('redirects are not followed, and errors and compressed answers are refused', async () => {
  const answers: [RequestListener, string][] = [
    [(_request, response) => response.writeHead(302, { location: 'http://169.254.169.254/' }).end(), 'redirects'],
    [(_request, response) => response.writeHead(404).end(), '404'],
    [(_request, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(), 'compressed'],
  ];
  for (const [answer, words] of answers) {
    const port = await serve(answer);
    await expect(localOnly(port).open(`http://127.0.0.1:${port}/`, { signal })).rejects.toThrow(words);
  }
});

test('a sender that drips is given up', async () => {
  const port = await serve((_request, response) => {
    const drip = setInterval(() => response.write('x'), 5);
    response.once('close', () => clearInterval(drip));
  });
  const rules = { allowedNetworks: ['127.0.0.1'], allowedPorts: [port] };
  const body = await createWebDownload(rules, { graceMs: 50, bytesPerSecondMin: 1_000_000 }).open(`http://127.0.0.1:${port}/`, { signal });
  await expect(buffer(Readable.from(body.stream))).rejects.toThrow('too slowly');
});

test('a connection that breaks in the middle is a refusal, not an end', async () => {
  const port = await serve((_request, response) => {
    response.writeHead(200, { 'content-length': 1000 });
    response.write('some', () => response.destroy());
  });
  const body = await localOnly(port).open(`http://127.0.0.1:${port}/`, { signal });
  await expect(buffer(Readable.from(body.stream))).rejects.toThrow('connection was lost');
});
