/** `POST …/action`: an object with one key, which names the action, and whose value is its argument. */
import { badRequest } from '../../../lib/errors.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the route tells apart by its body. */
    readonly actions?: readonly string[];
  }
}

/** Options of a route: says which actions it takes, so that tests can go through all of them. */
export const taking = (known: Readonly<Record<string, unknown>>): { config: { actions: string[] } } => ({
  config: { actions: Object.keys(known) },
});

export interface AskedAction<Name extends string> {
  readonly name: Name;
  readonly argument: unknown;
}

export function actionIn<Name extends string>(body: unknown, known: Readonly<Record<Name, unknown>>): AskedAction<Name> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw badRequest('There should be exactly one action in the request body.');
  const [entry, ...others] = Object.entries(body);
  if (entry === undefined || others.length > 0) throw badRequest('There should be exactly one action in the request body.');
  const [name, argument] = entry;
  if (!Object.hasOwn(known, name)) throw badRequest(`There is no such action: ${name}`);
  return { name: name as Name, argument };
}
