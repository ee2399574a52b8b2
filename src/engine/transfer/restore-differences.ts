/**
 * What has to be written for a disk to become that of a backup.
 *
 * When a commit is known that the disk once was, and which ranges may have changed since, then only these are compared, and the chunks in which that
 * commit's map differs from the wanted one. Both follow from the change, not from the size of the disk. The journals behind the ranges are taken on
 * trust, so some of the other chunks are audited first. Without such a commit, or when it cannot be read, or when the audit finds something, every
 * chunk of the map and everything that the disk holds is compared.
 */
import { randomInt } from 'node:crypto';
import { messageOf } from '../../lib/errors.ts';
import type { DiskReader } from '../disk/contract.ts';
import { ExtentSet } from '../disk/extent-set.ts';
import type { AuditFigures } from '../repository/commit.ts';
import { type DiskMap, spanOf } from '../repository/disk-map.ts';
import { isDamage, isRepositoryError, RepositoryError } from '../repository/errors.ts';
import { LEAF_BYTES } from '../repository/format.ts';
import { differingLeaves, type ReadNode } from '../repository/map-difference.ts';
import { AuditFailure, auditSample, describeFinding } from './audit.ts';
import { CompareStopped, compareDisk, type Differences } from './compare-disk.ts';
import { damageOf } from './damage.ts';
import { planBackup, planWholeDisk } from './leaf-plan.ts';
import type { OntoWork } from './onto-work.ts';
import { type OpenBackup, readRooted } from './open-backup.ts';
import type { Damage } from './worker-protocol.ts';

export interface FoundDifferences extends Differences {
  /** Why not only what had changed was compared, when that was wanted. */
  readonly knownProblem?: string;
  readonly audit?: AuditFigures;
}

interface Comparison {
  readonly work: OntoWork;
  readonly backup: OpenBackup;
  readonly reader: DiskReader;
  readonly seed: number;
}

interface KnownDisk {
  readonly map: DiskMap;
  readonly changed: ExtentSet;
}

/** Throws `CompareStopped` when the disk cannot be read. */
export async function findDifferences(work: OntoWork, backup: OpenBackup, reader: DiskReader): Promise<FoundDifferences> {
  const comparison: Comparison = { work, backup, reader, seed: randomInt(2 ** 31) };
  if (work.order.known === undefined) return await compareAll(comparison);
  try {
    return await compareChanges(comparison, await openKnown(work, backup, work.order.known));
  } catch (error) {
    if (error instanceof AuditFailure) return await compareAll(comparison, error);
    if (!(error instanceof CompareStopped && error.unreadable === 'known')) throw error;
    const { session } = work.order.known;
    work.log.warn({ error: error.message, session }, 'what a disk was known to be cannot be read: all of it is compared');
    return { ...(await compareAll(comparison)), knownProblem: error.message };
  }
}

async function openKnown(work: OntoWork, backup: OpenBackup, known: NonNullable<OntoWork['order']['known']>): Promise<KnownDisk> {
  return await ofKnown(async () => {
    const { root, map } = await readRooted(work.repository, backup.tools, known.session);
    if (root !== known.root) throw new RepositoryError('corrupted', `the commit of session ${known.session} has another root`);
    return { map, changed: ExtentSet.decode(Buffer.from(known.changed, 'base64')) };
  });
}

/** Throws `AuditFailure` when what is known and the changes since turn out not to add up to the disk. */
async function compareChanges({ work, backup, reader, seed }: Comparison, known: KnownDisk): Promise<FoundDifferences> {
  const { changed, allocated } = await ofDisk(() => planBackup(reader, { changed: known.changed, sizeBytes: known.map.sizeBytes }));
  const base = { map: known.map, tools: backup.tools };
  const { chunks, finding } = await ofKnown(() => ofDisk(() => auditSample({ reader, ranges: { changed, allocated }, seed, base })));
  if (finding !== undefined) throw new AuditFailure(finding, chunks);
  const damages: Damage[] = [];
  const scope = changed.union(await differingRanges(backup, known.map, damages));
  const found = await compareDisk(work, backup, { known: known.map, changed, scope, allocated });
  return { ...found, damages: [...damages, ...found.damages], ...(chunks === 0 ? {} : { audit: { seed, chunks } }) };
}

/** Where the map of the backup differs from the known one, in whole leaves. What cannot be read of the backup is damage of its range. */
async function differingRanges(backup: OpenBackup, known: DiskMap, damages: Damage[]): Promise<ExtentSet> {
  const { nodes } = backup.tools;
  const { map } = backup.commit;
  const readWanted: ReadNode = async (reference, level, index) => {
    try {
      return await nodes.read(reference, level);
    } catch (error) {
      const spanBytes = spanOf(level);
      damages.push(damageOf(error, index * spanBytes, spanBytes, map.sizeBytes));
      return undefined;
    }
  };
  const readKnown: ReadNode = (reference, level) => ofKnown(async () => await nodes.read(reference, level));
  const ranges = ExtentSet.builder();
  for await (const { leafIndex } of differingLeaves({ map, read: readWanted }, { map: known, read: readKnown })) {
    ranges.add(leafIndex * LEAF_BYTES, (leafIndex + 1) * LEAF_BYTES);
  }
  return ranges.build();
}

/** Compares everything; when the disk's word for what it holds cannot be taken, that, too. */
async function compareAll({ work, backup, reader, seed }: Comparison, failure?: AuditFailure): Promise<FoundDifferences> {
  const plan = await ofDisk(() => planBackup(reader, undefined));
  const own = failure === undefined ? await ofDisk(() => auditSample({ reader, ranges: plan, seed })) : undefined;
  const { chunks, finding } = own ?? failure ?? { chunks: 0 };
  const audit = { seed, chunks, ...(finding === undefined ? {} : { finding: { ...finding, ...baseOf(work) } }) };
  if (finding !== undefined) {
    work.log.error({ ...audit, session: work.order.session }, `${describeFinding(finding)}: all of the disk is compared`);
  }
  const { allocated } = finding?.wrong === 'allocation' ? planWholeDisk(reader) : plan;
  const disk = ExtentSet.of([[0, reader.sizeBytes]]).alignTo(LEAF_BYTES);
  const found = await compareDisk(work, backup, { changed: disk, scope: disk, allocated });
  const problem = finding === undefined ? {} : { knownProblem: describeFinding(finding) };
  return { ...found, ...problem, ...(chunks === 0 ? {} : { audit }) };
}

function baseOf({ order }: OntoWork): { readonly baseSession?: string } {
  return order.known === undefined ? {} : { baseSession: order.known.session };
}

/** Runs what reads the known map. That it cannot be read is no failure; that the repository does not answer is. */
async function ofKnown<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isDamage(error) && !isRepositoryError(error, 'not-found')) throw error;
    throw new CompareStopped('known', error.message, { cause: error });
  }
}

/** Runs what reads the disk; what fails then, and does not come from the repository, is the disk. */
async function ofDisk<T>(work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RepositoryError) throw error;
    throw new CompareStopped('disk', messageOf(error), { cause: error });
  }
}
