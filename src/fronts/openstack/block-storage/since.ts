import { notFound } from '../../../lib/errors.ts';
import { type Microversion, withinMinors } from '../shared/microversion.ts';

/** Options of a route: below this minor version of 3 it does not exist. */
export const since = (minor: number) => withinMinors(3, minor);

/** For an action, whose route is there at every version. */
export function requireSince(microversion: Microversion, minor: number): void {
  if (microversion.atLeast(3, minor)) return;
  throw notFound(`API version ${microversion.major}.${microversion.minor} is not supported on this method.`);
}
