import type { FastifyRequest } from 'fastify';
import type { IdentityService } from '../../../cloud/identity/service.ts';
import { publicBase } from '../shared/links.ts';
import { type Query, queryOf, queryValue } from '../shared/paging.ts';
import { identityPath } from './catalog.ts';

/** What the routes of Identity work with. */
export interface IdentityFront {
  readonly identity: IdentityService;
  readonly publicUrl: string | undefined;
}

/** `http://host/identity/v3` */
export const v3Of = (request: FastifyRequest, { publicUrl }: IdentityFront): string =>
  `${publicBase(request, publicUrl)}${identityPath}/v3`;

/** The envelope of a list. Identity does not page. */
export function collection(request: FastifyRequest, front: IdentityFront, name: string, items: readonly object[]): object {
  const self = publicBase(request, front.publicUrl) + request.url;
  return { [name]: items.filter(matching(queryOf(request))), links: { next: null, self, previous: null } };
}

type Comparison = (value: string, wanted: string) => boolean;

const lower =
  (compare: Comparison): Comparison =>
  (value, wanted) =>
    compare(value.toLowerCase(), wanted.toLowerCase());
const contains: Comparison = (value, wanted) => value.includes(wanted);
const startsWith: Comparison = (value, wanted) => value.startsWith(wanted);
const endsWith: Comparison = (value, wanted) => value.endsWith(wanted);

const comparisons = new Map<string, Comparison>([
  ['contains', contains],
  ['icontains', lower(contains)],
  ['startswith', startsWith],
  ['istartswith', lower(startsWith)],
  ['endswith', endsWith],
  ['iendswith', lower(endsWith)],
]);

/** `name__contains=x` and its like, on any text that the items show. */
function matching(query: Query): (item: object) => boolean {
  const tests = Object.keys(query).flatMap((key) => {
    const [attribute = '', comparison = ''] = key.split('__', 2);
    const compare = comparisons.get(comparison);
    return compare === undefined ? [] : [{ attribute, compare, wanted: queryValue(query, key) ?? '' }];
  });
  return (item) =>
    tests.every(({ attribute, compare, wanted }) => {
      const value = Object.hasOwn(item, attribute) ? (item as Record<string, unknown>)[attribute] : undefined;
      return typeof value === 'string' && compare(value, wanted);
    });
}

/** A flag in a query: present means true, unless it says `0` or `false`. */
export function flag(query: Query, name: string): boolean | undefined {
  const value = queryValue(query, name);
  return value === undefined ? undefined : !['0', 'false'].includes(value.toLowerCase());
}

/** Attributes of a body that the service keeps without knowing them. */
export function unknownAttributes<T extends object>(body: T, known: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([key]) => !known.includes(key)));
}
