import { type Microversion, negotiateMicroversion, withinMinors } from '../shared/microversion.ts';

export const lowestMicroversion = '2.1';
export const highestMicroversion = '2.93';

/** Compute is asked for a microversion by either of two headers, and answers with both. */
export const negotiate = negotiateMicroversion({
  service: 'compute',
  lowest: lowestMicroversion,
  highest: highestMicroversion,
  olderHeader: 'X-OpenStack-Nova-API-Version',
});

/** Options of a route that is there from this minor version of 2 on, up to the other one if there is one. */
export const between = (from: number, to?: number) => withinMinors(2, from, to);

/** Whether a request asks for this minor version of 2 or a later one. */
export const isSince = (microversion: Microversion, minor: number): boolean => microversion.atLeast(2, minor);
