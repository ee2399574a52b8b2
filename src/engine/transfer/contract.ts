import type { DiskSource, LayerTarget } from '../disk/contract.ts';
import type { AuditFigures } from '../repository/commit.ts';

/**
 * What the service asks of the data mover, as plain data that crosses a process boundary.
 * A repository's `domain` is the project whose backups share chunks and a key.
 */
export interface RepositoryAddress {
  readonly id: string;
  readonly store: { readonly kind: 'filesystem'; readonly path: string };
  /** The file that holds the repository's master key, mode 0600. */
  readonly keyFile: string;
  /** A folder of this machine for derived, disposable index segments. */
  readonly cacheDir: string;
}

/** What a commit says of the disk it holds, so that a repository explains itself without a database. JSON, stored encrypted. */
export interface BackupDescription {
  readonly backupId: string;
  readonly projectId: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly volume: {
    readonly id: string;
    readonly name: string | null;
    readonly description: string | null;
    readonly sizeGib: number;
    readonly bootable: boolean;
    readonly metadata: Readonly<Record<string, string>>;
    readonly imageMetadata: Readonly<Record<string, string>>;
  };
  readonly snapshotId: string | null;
  readonly parentBackupId: string | null;
  /** ISO 8601, UTC. */
  readonly dataTimestamp: string;
  readonly createdAt: string;
}

export interface BackupOrder {
  readonly repository: RepositoryAddress;
  readonly domain: string;
  /** 32 hex digits, new for each attempt. Names the packs and the commit. */
  readonly session: string;
  /** Sessions of earlier attempts at the same backup. Each is tombstoned first, unless it committed: then its result is returned. */
  readonly formerSessions: readonly string[];
  readonly source: DiskSource;
  /** The commit that the new map is made from, with the ranges that may differ from it (`ExtentSet.encode`, base64). Absent: everything allocated is read. */
  readonly base?: { readonly session: string; readonly root: string; readonly changed: string };
  readonly describe: BackupDescription;
}

export interface BackupOutcome {
  readonly session: string;
  /** Hex; the identity of the disk's content in this domain. */
  readonly root: string;
  readonly sizeBytes: number;
  /** Data packs written by this session. */
  readonly objectCount: number;
  readonly readBytes: number;
  /** Bytes added to the store, metadata included. */
  readonly storedBytes: number;
  /** Why the base could not be used, when it could not: then everything was read. */
  readonly baseProblem?: string;
  /** Absent when there was nothing to audit. */
  readonly audit?: AuditFigures;
}

export interface BackupIdentity {
  /** Hex; the identity of the disk's content in its domain. */
  readonly root: string;
  readonly sizeBytes: number;
}

export interface RestoreOrder {
  readonly repository: RepositoryAddress;
  readonly domain: string;
  readonly session: string;
  /** A raw file: made anew, sparse. It is removed when the restore fails or is aborted. */
  readonly targetPath: string;
  /** The size that the target gets; at least the size of the disk in the backup. */
  readonly targetSizeBytes: number;
}

export interface RestoreOutcome {
  /** Equal to the commit's root: checked on the bytes written, before the call returns. */
  readonly root: string;
  /** The ranges written (`ExtentSet.encode`, base64). */
  readonly allocated: string;
  readonly writtenBytes: number;
}

/** A restore onto what a disk holds already: only what differs is fetched and written. */
export interface RestoreOntoOrder {
  readonly repository: RepositoryAddress;
  readonly domain: string;
  readonly session: string;
  /** What the disk holds now, frozen. At least of the size of the disk in the backup; what it holds behind that becomes zeroes. */
  readonly current: DiskSource;
  /** An overlay on `current`, of its size: made anew and whole. It is removed when the restore fails or is aborted. */
  readonly target: LayerTarget;
  /** A commit that `current` is known by, with the ranges that may differ from it (as in a backup's base). Absent: all of the disk is compared. */
  readonly known?: { readonly session: string; readonly root: string; readonly changed: string };
}

export type RestoreOntoOutcome =
  | {
      readonly kind: 'restored';
      /** The commit's. The overlay on `current` holds exactly that disk, and zeroes behind its end. */
      readonly root: string;
      /** The ranges that the overlay holds, data and zeroes (`ExtentSet.encode`, base64). */
      readonly written: string;
      readonly writtenBytes: number;
      /** What was read of `current` to find out what differs. */
      readonly comparedBytes: number;
      /** Why `known` could not be used, when it could not: then all of the disk was compared. */
      readonly knownProblem?: string;
      /** Absent when there was nothing to audit. */
      readonly audit?: AuditFigures;
    }
  /** `current` cannot be read, so that nothing can be made on it. There is no overlay. */
  | { readonly kind: 'unreadable'; readonly reason: string };

export interface MoverCallOptions {
  readonly signal: AbortSignal;
  /**
   * `totalBytes` is what will be read (backup), written (restore), or compared and then written, as far as that is known (restore onto a disk): it
   * grows while differences are found. At most a few calls a second.
   */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

export interface RestoreCallOptions extends MoverCallOptions {
  /** Called once, before the first byte is written, with how many may be written. The restore waits for it, and ends with what it throws. */
  readonly admit?: (bytes: number) => Promise<void>;
}

/**
 * The data mover: moves bytes between disks and repositories in a niced process of its own.
 * A call whose process dies rejects; the mover is started again for the next call. `RepositoryError` kinds cross the boundary.
 */
export interface DataMover {
  /** Makes the repository (and its key file) if it does not exist, opens it otherwise. Repeatable. */
  initRepository(repository: RepositoryAddress): Promise<void>;
  backup(order: BackupOrder, options: MoverCallOptions): Promise<BackupOutcome>;
  restore(order: RestoreOrder, options: RestoreCallOptions): Promise<RestoreOutcome>;
  restoreOnto(order: RestoreOntoOrder, options: RestoreCallOptions): Promise<RestoreOntoOutcome>;
  /** Writes the tombstone of a session: its backup is not live any more, or never will be. Repeatable. */
  tombstone(repository: RepositoryAddress, domain: string, session: string): Promise<void>;
  /** What a live backup holds, as its own commit says. `not-found` when there is none of the session, or it was deleted. */
  identify(repository: RepositoryAddress, domain: string, session: string): Promise<BackupIdentity>;
  stop(): Promise<void>;
}
