/**
 * What crosses between the thread that runs a job and the worker threads that move its bytes. Plain data only.
 *
 * A job is opened on some workers, gets tasks (a task is one leaf of the disk's map), and is ended by `finish` or `abort` on each.
 */
import type { DiskSource } from '../disk/contract.ts';
import type { PlainError, RepositoryErrorKind } from '../repository/errors.ts';
import type { RecentChunksHandle } from '../repository/index/recent-chunks.ts';
import type { SegmentHandle } from '../repository/index/segment.ts';
import type { FrameAddress } from '../repository/pack-format.ts';
import type { FinishedPack } from '../repository/pack-writer.ts';
import type { ChunkMask } from './chunk-mask.ts';
import type { RepositoryAddress } from './contract.ts';

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
}

/** Several leaves, so that few changed chunks in many leaves do not cost a message each. */
export type BackupTask = readonly LeafTask[];

export interface LeafTask {
  readonly leafIndex: number;
  readonly changed: ChunkMask;
  readonly read: ChunkMask;
  readonly base?: NodePlace;
}

export interface BackupLeafResult {
  readonly readBytes: number;
  /** Absent: the leaf is what it was in the base. */
  readonly leaf?: { readonly id: Uint8Array /** Absent for a hole. */; readonly encoded?: Uint8Array };
  /** How the references to packs change. */
  readonly references: readonly (readonly [pack: string, change: number])[];
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
  readonly sizeBytes: number;
}

export interface RestoreTask {
  readonly leafIndex: number;
  readonly leaf: NodePlace;
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

export type WorkerContext = BackupContext | RestoreContext;

export type WorkerCall =
  | { readonly call: number; readonly job: number; readonly open: WorkerContext }
  | { readonly call: number; readonly job: number; readonly task: BackupTask | RestoreTask }
  | { readonly call: number; readonly job: number; readonly end: 'finish' | 'abort' };

export type WorkerReply = { readonly call: number; readonly value: unknown } | { readonly call: number; readonly error: PlainError };
