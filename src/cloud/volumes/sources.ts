import type { StringMap, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';

/**
 * What volumes need of the folders above them. Volumes come before snapshots and images in the order of `src/cloud`, so they name only
 * these ports; `src/main` wires the services behind them.
 */

/** A point that a volume may start from. It is held by its owner for as long as the transaction lasts. */
export interface ImageSource {
  readonly imageId: string;
  readonly pointId: string;
  /** What the disk in the image takes as a disk. */
  readonly virtualSizeBytes: number;
  readonly minDiskGib: number;
  /** `volume_image_metadata` of the volumes that are made from it. */
  readonly metadata: StringMap;
  /** The image's own wish for a volume type, by name or id. */
  readonly volumeType: string | null;
}

export interface ImageSources {
  /**
   * An active image that the caller may use, its row locked against deletion until the transaction ends. 400 `Invalid image identifier or
   * unable to access requested image.` otherwise.
   */
  sourceFor(tx: Tx, caller: Caller, imageId: string): Promise<ImageSource>;
}

export interface GroupSources {
  /** An available group that the caller may see, locked against deletion until the transaction ends. 404 otherwise, and 400 when it does not take the type. */
  checkMember(tx: Tx, caller: Caller, groupId: string, volumeTypeId: string): Promise<void>;
}

/** What volumes ask of servers. */
export interface ServerSources {
  /** Whether a server has a disk by this attachment: then only the server lets go of it. */
  hasDisk(attachmentId: string): Promise<boolean>;
}

export interface SnapshotSource {
  readonly snapshotId: string;
  readonly pointId: string;
  readonly sizeGib: number;
  readonly projectId: string;
  /** What its volume was when it was made. */
  readonly bootable: boolean;
  readonly imageMetadata: StringMap;
}

export interface SnapshotSources {
  /** Whose snapshot it is, when the caller may see it; 404 otherwise. Locks nothing: volumes are locked before their snapshots. */
  volumeOf(tx: Tx, caller: Caller, snapshotId: string): Promise<string>;
  /** An available snapshot that the caller may see, its row locked until the transaction ends. 404 and 400 otherwise. */
  sourceFor(tx: Tx, caller: Caller, snapshotId: string): Promise<SnapshotSource>;
  /** How many snapshots the volume has, in whatever state. */
  countOf(tx: Tx, volumeId: string): Promise<number>;
  /** For a cascade: all of the volume's snapshots → deleting; false (and nothing changed) when one of them may not be deleted. */
  beginDeleteAll(tx: Tx, caller: Caller, volumeId: string): Promise<boolean>;
  /** Releases the points of the volume's deleting snapshots and removes their rows. Repeatable. */
  finishDeleteAll(tx: Tx, volumeId: string): Promise<void>;
  /** The cascade failed: deleting → error_deleting. Repeatable. */
  failDeleteAll(tx: Tx, volumeId: string): Promise<void>;
}
