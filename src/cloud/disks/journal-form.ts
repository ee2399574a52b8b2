/**
 * Journals as they are stored: in whole grains of what backups read, and of bounded size. Coarser means more than what changed, which is allowed; a
 * journal never says less.
 *
 * A million scattered ranges take tens of milliseconds, and this process answers requests: hence the turns.
 */
import { ExtentSetFormatError } from '../../engine/disk/extent-encoding.ts';
import { ExtentSet } from '../../engine/disk/extent-set.ts';
import { inTurns } from '../../lib/steps.ts';

/** Backups compare chunks of this size: what is finer only costs room. */
const grainBytes = 64 * 1024;
/** A journal with more ranges gets coarser grains until it has not: 2 to 4 MB in the database at most. */
export const journalRangesMax = 2 ** 20;

/** No disk is larger. */
export const everythingBytes: number = 2 ** 52;
/** Of a journal that cannot be trusted: whoever crosses it reads everything. */
export const everythingChanged: ExtentSet = ExtentSet.of([[0, everythingBytes]]);

export async function encodeJournal(changed: ExtentSet): Promise<Buffer> {
  return await inTurns((await coarsened(changed)).encodeSteps());
}

/** Undefined for one that is damaged, or that a newer program wrote: then it is not known. */
export async function decodeJournal(journal: Uint8Array): Promise<ExtentSet | undefined> {
  try {
    return await inTurns(ExtentSet.decodeSteps(journal));
  } catch (error) {
    if (error instanceof ExtentSetFormatError) return undefined;
    throw error;
  }
}

export async function uniteJournals(journals: readonly ExtentSet[]): Promise<ExtentSet> {
  let all = ExtentSet.empty;
  for (const journal of journals) all = await inTurns(all.unionSteps(journal));
  return await coarsened(all);
}

async function coarsened(changed: ExtentSet): Promise<ExtentSet> {
  for (let grain = grainBytes; ; grain *= 2) {
    const coarse = await inTurns(changed.alignSteps(grain));
    if (coarse.rangeCount <= journalRangesMax) return coarse;
  }
}
