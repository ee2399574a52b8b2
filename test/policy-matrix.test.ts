import { expect, it } from 'vitest';
import { keyOf, parseRow, placeholdersOf, readMatrix, routeOf } from './policy/matrix.ts';
import { knownThings } from './policy/things.ts';
import { allRoutes } from './support/routes.ts';

/** Nobody adds a route without saying who may use it. What the rows say is tried by `test/acceptance/policy-matrix.test.ts`. */
const rows = readMatrix();

it('has a row for every route, and a route for every row', async () => {
  const keys = [...new Set((await allRoutes()).filter(({ method }) => method !== 'HEAD').map(keyOf))];
  const asked = rows.map((row) => ({ row, key: routeOf(row, keys) }));
  const covered = new Set(asked.map(({ key }) => key));
  expect(
    keys.filter((key) => !covered.has(key)),
    'who may use them? Write rows for them: test/policy/matrix/',
  ).toEqual([]);
  const lost = asked.filter(({ key }) => key === undefined);
  expect(
    lost.map(({ row }) => `${row.place} ${row.method} ${row.path}`),
    'no route answers them',
  ).toEqual([]);
});

it('has a row for every action of a route', async () => {
  const routes = (await allRoutes()).filter(({ pattern }) => pattern.endsWith('/action'));
  expect(routes.filter(({ actions }) => actions.length === 0).map(keyOf)).toEqual([]);
  const keys = routes.map(keyOf);
  const missing = routes.flatMap((route) => {
    const bodies = rows.filter((row) => routeOf(row, keys) === keyOf(route)).map(({ body = '' }) => body);
    return route.actions
      .filter((action) => !bodies.some((body) => body.startsWith(`{"${action}":`)))
      .map((action) => `${keyOf(route)} ${action}`);
  });
  expect([...new Set(missing)], 'who may ask for them? Write rows for them: test/policy/matrix/').toEqual([]);
});

it('names things that can be made', () => {
  const unknown = rows.flatMap((row) =>
    placeholdersOf(row)
      .filter((name) => !knownThings.has(name))
      .map((name) => `${row.place} {${name}}`),
  );
  expect(unknown).toEqual([]);
});

it('asks each thing once', () => {
  const requests = rows.map(({ method, path, headers, body }) => JSON.stringify([method, path, headers, body]));
  expect(requests.filter((request, at) => requests.indexOf(request) !== at)).toEqual([]);
});

it('reads a row with headers and a body', () => {
  expect(parseRow('PUT /a/{b}?c=d  401 404 403 ok ok  x-y={z}  content-type=text/plain  {"e": "{f}"}', 'here:1')).toEqual({
    place: 'here:1',
    method: 'PUT',
    path: '/a/{b}?c=d',
    cells: { nobody: '401', other: '404', reader: '403', member: 'ok', admin: 'ok' },
    headers: { 'x-y': '{z}', 'content-type': 'text/plain' },
    body: '{"e": "{f}"}',
  });
  expect(() => parseRow('GET /a 401 404 403 ok', 'here:1')).toThrow('here:1 is no row');
  expect(() => parseRow('GET /a 401 404 403 ok 200', 'here:1')).toThrow('not 200');
});

it('finds the route that the router would take', () => {
  const keys = ['GET /v/:id', 'GET /v/detail', 'GET /v/:id/x', 'POST /v/:id'];
  expect(routeOf({ method: 'GET', path: '/v/{volume}' }, keys)).toBe('GET /v/:id');
  expect(routeOf({ method: 'GET', path: '/v/detail?limit=1' }, keys)).toBe('GET /v/detail');
  expect(routeOf({ method: 'DELETE', path: '/v/{volume}' }, keys)).toBeUndefined();
});
