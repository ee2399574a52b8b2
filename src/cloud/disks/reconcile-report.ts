/** What a comparison of the rows with the disks finds, and how it tells it. */

/** What is wrong, by name: for programs. The words of a finding are for people. */
export type FindingKind =
  /** Rows without files. */
  | 'all-layers-missing'
  | 'layer-missing'
  /** Files without rows. */
  | 'layer-unknown'
  | 'layer-misplaced'
  | 'file-unfinished'
  | 'file-foreign'
  /** Files that are not what their rows say. */
  | 'layer-damaged'
  | 'parent-differs'
  | 'size-differs'
  | 'space-leaked'
  /** Servers of disks. */
  | 'server-unknown'
  | 'server-gone'
  | 'server-differs'
  | 'server-unused'
  | 'server-leftover'
  /** Rows that contradict each other. */
  | 'record-broken'
  | 'bytes-unreadable'
  | 'hold-missing'
  | 'volume-without-disk'
  | 'disk-without-volume'
  | 'work-unfinished'
  | 'volume-recovered';

/**
 * `error`: data is missing or damaged, or may be lost. `warning`: something is not as it should be, and no data is in danger. `notice`: worth knowing.
 */
export type Severity = 'error' | 'warning' | 'notice';

export interface Affected {
  readonly type: 'volume' | 'snapshot' | 'image' | 'backup';
  readonly id: string;
  readonly name: string | null;
}

export interface FindingText {
  readonly severity: Severity;
  /** What is wrong, in a sentence or two. */
  readonly detail: string;
  /** What an operator can do about it. */
  readonly advice: string;
  /** In the same order: what to type. */
  readonly commands: readonly string[];
  readonly affected: readonly Affected[];
}

export interface Finding extends FindingText {
  readonly kind: FindingKind;
  /** A layer, a file, a volume: its id or name. */
  readonly subject: string;
  /** What was done about it; null: nothing. */
  readonly done: string | null;
  /** Nothing is left to do. */
  readonly isRepaired: boolean;
}

export interface DiskReport {
  readonly tookMs: number;
  readonly looked: {
    /** Rows and files of layers. */
    readonly layerRows: number;
    readonly layerFiles: number;
    readonly servers: number;
    /** Whose structures were read from end to end. */
    readonly deepLayers: number;
  };
  /** The worst first. */
  readonly findings: readonly Finding[];
  /** How many more there are that the list has no room for, and that were not repaired. */
  readonly unlisted: number;
  readonly trash: { readonly count: number; readonly bytes: number };
}

export interface CheckOptions {
  /** Does what is safe: moves into the trash and out of it, ends servers that nobody knows, finishes interrupted work. */
  readonly repair: boolean;
  /** Also reads the structures inside of layers: a sample, when there are many. */
  readonly deep: boolean;
  readonly signal: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** Something that looks wrong. It may only be in motion. */
export interface Suspicion {
  /** The same in every look, for as long as the same thing is wrong. */
  readonly key: string;
  readonly kind: FindingKind;
  readonly subject: string;
  /** Looks again, at this alone and so closely that nothing in motion passes for it. */
  confirm(): Promise<boolean>;
  describe(): Promise<FindingText>;
  /** Absent: nothing is safe to do. `automatic`: nobody has asked for it. Undefined: nothing was done. */
  repair?(how: { automatic: boolean }): Promise<Repair | undefined>;
}

export interface Repair {
  readonly done: string;
  readonly isRepaired: boolean;
}

/** One side of the comparison. */
export interface Inspection {
  look(): Promise<readonly Suspicion[]>;
}

const severities: readonly Severity[] = ['error', 'warning', 'notice'];

export function worstFirst(findings: readonly Finding[]): Finding[] {
  const rank = (finding: Finding): number => (finding.isRepaired ? severities.length : 0) + severities.indexOf(finding.severity);
  return findings.toSorted((one, other) => rank(one) - rank(other) || one.kind.localeCompare(other.kind));
}
