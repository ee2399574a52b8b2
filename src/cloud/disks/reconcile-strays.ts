/** What lies among the layers and is none: leftovers of processes that died, which go to the trash, and things that are not ours, which are left alone. */
import type { LayerInventory, StrayObject } from '../../engine/volumes/inventory-contract.ts';
import type { Clock } from '../../lib/clock.ts';
import type { FindingText, Repair, Suspicion } from './reconcile-report.ts';

export interface StrayDeps {
  readonly inventory: LayerInventory;
  readonly clock: Clock;
  /** When this process began. What is unfinished since before that will never be finished: one service works on a state directory. */
  readonly startedAt: Date;
}

/** The clock of a file system may be behind by a tick. */
const clockGrainMs = 50;
/** No small file takes longer than this to be written. */
const unfinishedMs = 10 * 60_000;

/** `knownIds`: of layers that have a row. Their notes are looked after together with them. */
export function suspectStrays(deps: StrayDeps, strays: readonly StrayObject[], knownIds: ReadonlySet<string>): Suspicion[] {
  return strays.flatMap((stray) => {
    if (stray.kind === 'foreign') return [foreign(stray)];
    const isLeft = stray.kind === 'unfinished' ? isAbandoned(deps, stray) : stray.layer === undefined || !knownIds.has(stray.layer.id);
    return isLeft ? [leftover(deps, stray)] : [];
  });
}

function isAbandoned({ startedAt, clock }: StrayDeps, { modifiedAt }: StrayObject): boolean {
  const changedAtMs = modifiedAt.getTime();
  return changedAtMs < startedAt.getTime() - clockGrainMs || changedAtMs < clock.now().getTime() - unfinishedMs;
}

/** Whoever writes it changes its time: then it is another one. */
const keyOf = ({ name, modifiedAt }: StrayObject): string => `${name}@${modifiedAt.getTime()}`;

function leftover({ inventory, clock }: StrayDeps, stray: StrayObject): Suspicion {
  const what =
    stray.kind === 'unfinished' ? 'was begun by a process that ended before it was finished' : 'is a note about a layer that is not there';
  const text: FindingText = {
    severity: 'notice',
    detail: `${stray.place} ${what}.`,
    advice: 'Nobody needs it. A repair moves it to the trash.',
    commands: ['stillpoint doctor --disks --repair'],
    affected: [],
  };
  return {
    key: `file-unfinished:${keyOf(stray)}`,
    kind: 'file-unfinished',
    subject: stray.name,
    confirm: async () => true,
    describe: async () => text,
    async repair(): Promise<Repair | undefined> {
      const moved = await inventory.trashStray(stray.name, { reason: what, at: clock.now() });
      return moved ? { done: 'Moved to the trash.', isRepaired: true } : undefined;
    },
  };
}

function foreign(stray: StrayObject): Suspicion {
  const text: FindingText = {
    severity: 'warning',
    detail: `${stray.place} lies among the volumes and is nothing that Stillpoint makes.`,
    advice: 'It is left alone, for it may be the only copy of something. Move it out of the folder of volumes yourself.',
    commands: [],
    affected: [],
  };
  return {
    key: `file-foreign:${keyOf(stray)}`,
    kind: 'file-foreign',
    subject: stray.name,
    confirm: async () => true,
    describe: async () => text,
  };
}
