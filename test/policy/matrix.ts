/** The checked-in matrix of who may ask for what: `matrix/*.txt`, a row a request. What the columns mean is in `docs/policy.md`. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Route } from '../support/routes.ts';

export const askers = ['nobody', 'other', 'reader', 'member', 'admin'] as const;
export type Asker = (typeof askers)[number];

/** `ok`: whatever comes back, it is no 401, 403 or 404. */
const expectations = ['400', '401', '403', '404', 'ok'] as const;
export type Expectation = (typeof expectations)[number];

export interface Row {
  /** `identity.txt:17`, for messages. */
  readonly place: string;
  readonly method: string;
  /** With placeholders, and maybe a query: `/volume/v3/volumes/{volume}?force=True`. */
  readonly path: string;
  readonly cells: Readonly<Record<Asker, Expectation>>;
  /** Names in lower case, values with placeholders. */
  readonly headers: Readonly<Record<string, string>>;
  /** With placeholders. */
  readonly body: string | undefined;
}

const folder = join(import.meta.dirname, 'matrix');
const rowPattern = /^([A-Z]+) +(\S+) +(\w+) +(\w+) +(\w+) +(\w+) +(\w+)((?: +[a-z-]+=\S+)*)(?: +(\S.*))?$/;

export function readMatrix(): Row[] {
  return readdirSync(folder)
    .sort()
    .flatMap((file) => {
      const lines = readFileSync(join(folder, file), 'utf8').split('\n');
      return lines.flatMap((line, at) => (line.trim() === '' || line.startsWith('#') ? [] : [parseRow(line, `${file}:${at + 1}`)]));
    });
}

export function parseRow(line: string, place: string): Row {
  const [, method, path, nobody, other, reader, member, admin, headers = '', body] = rowPattern.exec(line) ?? [];
  if (method === undefined || path === undefined) throw new Error(`${place} is no row: ${line}`);
  const cells = Object.fromEntries(
    askers.map((asker, at) => [asker, expectationOf([nobody, other, reader, member, admin][at], place)]),
  ) as Row['cells'];
  return { place, method, path, cells, headers: Object.fromEntries(headers.split(' ').filter(Boolean).map(splitHeader)), body };
}

function expectationOf(cell: string | undefined, place: string): Expectation {
  const known = expectations.find((one) => one === cell);
  if (known === undefined) throw new Error(`${place}: a cell is one of ${expectations.join(', ')}, not ${cell}`);
  return known;
}

function splitHeader(header: string): [string, string] {
  const at = header.indexOf('=');
  return [header.slice(0, at), header.slice(at + 1)];
}

const placeholder = /\{([a-z][a-z0-9-]*)\}/g;

export const placeholdersOf = ({ path, headers, body }: Row): string[] => [
  ...new Set([path, ...Object.values(headers), body ?? ''].flatMap((text) => [...text.matchAll(placeholder)].map(([, name = '']) => name))),
];

export const filledIn = (text: string, values: ReadonlyMap<string, string>): string =>
  text.replace(placeholder, (whole, name: string) => values.get(name) ?? whole);

/** `GET /volume/v3/volumes/:id`. Block Storage has every route twice: with the project's id in its path, and without. */
export const keyOf = ({ method, pattern }: Route): string => `${method} ${pattern.replace('/:projectId/', '/')}`;

/** The route that the router takes for a row: of those that match, the one that is literal where another has a parameter. */
export function routeOf(row: Pick<Row, 'method' | 'path'>, keys: readonly string[]): string | undefined {
  const asked = `${row.method} ${row.path.split('?', 1)[0]}`.split('/');
  return keys
    .map((key) => ({ key, parts: key.split('/') }))
    .filter(({ parts }) => parts.length === asked.length && parts.every((part, at) => part.startsWith(':') || part === asked[at]))
    .sort((a, b) => sortKey(a.parts).localeCompare(sortKey(b.parts)))[0]?.key;
}

const sortKey = (parts: readonly string[]): string => parts.map((part) => (part.startsWith(':') ? '1' : '0')).join('');
