/**
 * What crosses between the thread that runs a job and the worker threads that move its bytes. Plain data only.
 *
 * A job is opened on some workers, gets tasks (a few leaves of a disk's map each), and is ended by `finish` or `abort` on each.
 */
import type { DiskSource } from '../disk/contract.ts';
import type { PlainError, RepositoryErrorKind } from '../repository/errors.ts';
import type { RecentChunksHandle } from '../repository/index/recent-chunks.ts';
import type { SegmentHandle } from '../repository/index/segment.ts';
import type { FrameAddress } from '../repository/pack-format.ts';
import type { FinishedPack } from '../repository/pack-writer.ts';
import type { ChunkMask } from './chunk-mask.ts';
import type { RepositoryAddress } from './contract.ts';
import type { LeafFinding } from './leaf-audit.ts';

/** An opened domain of a repository as plain data. */
export interface DomainAccess {
  readonly store: RepositoryAddress['store'];
  readonly repositoryId: string;
  readonly domain: string;
  readonly idKey: Uint8Array;
  readonly sealKey: Uint8Array;
  readonly macKey: Uint8Array;
}

/** A stored map node as plain data. */
export interface NodePlace {
  readonly id: Uint8Array;
  readonly address: FrameAddress;
}

export interface BackupContext {
  readonly kind: 'backup';
  readonly access: DomainAccess;
  readonly session: string;
  readonly source: DiskSource;
  /** One 32-bit counter: the next sequence number of a pack of this session. */
  readonly sequence: SharedArrayBuffer;
  readonly recent: RecentChunksHandle;
  readonly segments: readonly SegmentHandle[];
  /** Where the index segments of published packs go. Absent: nothing is indexed. */
  readonly indexFolder?: string;
  /** How much of the disk all workers together will read. */
  readonly readBytes: number;
  /** Leaves are made from those of a base, and chunks that count as unchanged are audited. */
  readonly isIncremental: boolean;
  readonly auditSeed: number;
}

/** Several leaves, so that few changed chunks in many leaves do not cost a message each. */
export type BackupTask = readonly LeafTask[];

export interface LeafTask {
  readonly leafIndex: number;
  readonly changed: ChunkMask;
  readonly read: ChunkMask;
  /** What the disk may hold in the whole leaf. */
  readonly allocated: ChunkMask;
  readonly base?: NodePlace;
}

export interface BackupLeafResult {
  readonly readBytes: number;
  /** Absent: the leaf is what it was in the base. */
  readonly leaf?: { readonly id: Uint8Array /** Absent for a hole. */; readonly encoded?: Uint8Array };
  /** How the references to packs change. */
  readonly references: readonly (readonly [pack: string, change: number])[];
  /** The base cannot be relied on: the leaf was not made. */
  readonly finding?: LeafFinding;
}

export interface BackupWorkerEnd {
  readonly packs: readonly FinishedPack[];
  /** Packs of other sessions that chunks were found in. */
  readonly sharedPacks: readonly { readonly name: string; readonly lengthBytes: number }[];
}

/** What a worker had published when its job was aborted. */
export type AbandonedPacks = Pick<BackupWorkerEnd, 'packs'>;

export interface RestoreContext {
  readonly kind: 'restore';
  readonly access: DomainAccess;
  readonly targetPath: string;
  /** Of the disk in the backup. */
  readonly sizeBytes: number;
}

/** Several leaves, as in a backup. */
export type RestoreTask = readonly RestoreLeafTask[];

export interface RestoreLeafTask {
  readonly leafIndex: number;
  readonly leaf: NodePlace;
  /**
   * Where in the file each of the leaf's chunks goes, whole; -1 for those that are not wanted. Absent: every chunk goes to its place on the disk,
   * and the last one is cut where the disk ends.
   */
  readonly hostBytes?: Float64Array;
  /** Reads and checks, and writes nothing: the restore has failed already, and only looks for the extent of the damage. */
  readonly checkOnly: boolean;
}

export interface Damage {
  readonly kind: RepositoryErrorKind;
  readonly message: string;
  readonly objectName?: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface RestoreLeafResult {
  readonly written: ChunkMask;
  readonly writtenBytes: number;
  readonly damages: readonly Damage[];
}

export interface CompareContext {
  readonly kind: 'compare';
  readonly access: DomainAccess;
  readonly current: DiskSource;
  /** What is going to be read of it, at most. */
  readonly expectedBytes: number;
  /** Of the disk in the backup. */
  readonly sizeBytes: number;
}

/** Several leaves, as in a backup. */
export type CompareTask = readonly CompareLeafTask[];

export interface CompareLeafTask {
  readonly leafIndex: number;
  /** What the disk shall hold. Absent: nothing but zeroes. */
  readonly wanted?: NodePlace;
  /** What the disk was known to hold: chunks in which it differs from `wanted` are compared beside those in `changed`. Absent: only these. */
  readonly known?: NodePlace | 'hole';
  /** Chunks that are compared in any case. */
  readonly changed: ChunkMask;
  /** Chunks in which the disk may hold something. */
  readonly allocated: ChunkMask;
}

export type CompareLeafResult =
  | {
      readonly kind: 'compared';
      /** Chunks that have to be written, and that have to become zeroes. */
      readonly write: ChunkMask;
      readonly zero: ChunkMask;
      /** Read from the disk. */
      readonly readBytes: number;
    }
  /** What the leaf shall hold cannot be read. */
  | { readonly kind: 'damaged'; readonly damage: Damage }
  /** What the leaf was known to hold cannot be read. */
  | { readonly kind: 'unknown'; readonly message: string }
  /** The disk itself cannot be read. */
  | { readonly kind: 'unreadable'; readonly message: string };

export type WorkerContext = BackupContext | RestoreContext | CompareContext;

export type WorkerCall =
  | { readonly call: number; readonly job: number; readonly open: WorkerContext }
  | { readonly call: number; readonly job: number; readonly task: BackupTask | RestoreTask | CompareTask }
  | { readonly call: number; readonly job: number; readonly end: 'finish' | 'abort' };

export type WorkerReply = { readonly call: number; readonly value: unknown } | { readonly call: number; readonly error: PlainError };
