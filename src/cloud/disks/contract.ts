import type { DiskSource, LayerTarget } from '../../engine/disk/contract.ts';
import type { ExtentSet } from '../../engine/disk/extent-set.ts';
import type { AuditFinding } from '../../engine/repository/commit.ts';
import type { Tx } from '../database/service.ts';

/** A commit in a repository that holds exactly what a point held. */
export interface KnownRoot {
  readonly repositoryId: string;
  readonly domain: string;
  readonly session: string;
  readonly root: string;
}

/** The nearest point with a known root, and the ranges that may differ between it and the asked point. */
export interface ChangesSince {
  readonly session: string;
  readonly root: string;
  readonly changed: ExtentSet;
}

/** Of all disks together, in bytes. */
export interface DiskSpace {
  /** What volumes were promised: the sizes of their disks. */
  readonly virtualBytes: number;
  /** What all layers take. */
  readonly allocatedBytes: number;
}

/** Who else needs a layer of a volume; the first that applies counts. `others`: what is just being read, copied or restored. */
export const sharers = ['images', 'snapshots', 'volumes', 'others'] as const;
export type Sharer = (typeof sharers)[number];

/** Of one volume's disk, in bytes. */
export interface DiskUsage {
  readonly virtualBytes: number;
  /** What would be free if the volume went, and nothing else. */
  readonly exclusiveBytes: number;
  /** What would stay then, because others need it. */
  readonly sharedBytes: Readonly<Record<Sharer, number>>;
}

export interface Tidied {
  /** Layers that were left as they are for now, because somebody worked on their volume. */
  readonly left: ReadonlySet<string>;
}

/**
 * How the guest that writes to a disk stood at a point. `quiesced`: its file systems were frozen. `crash-consistent`: as after a power cut. Null: nobody had
 * the disk open, or it is not known.
 */
export interface PointConsistency {
  readonly consistency: 'quiesced' | 'crash-consistent' | null;
  /** From asking the guest to freeze to its thaw, in milliseconds. */
  readonly freezeMs: number | null;
}

/** Makes guests stand still; what runs machines provides it. */
export interface Quiescence {
  /**
   * Runs `work`, once, while the guests that have these volumes hold their file systems still, as far as they can. Rejects without having run it, with a
   * refusal for the user, when a guest must be frozen and cannot be, and when it says no (a hook of its failed). Rejects after having run it when a guest
   * that must be frozen did not stay so: what was made then is to be given up.
   */
  around(volumeIds: readonly string[], work: () => Promise<void>): Promise<PointConsistency>;
}

export interface FreezeOfOne {
  readonly volumeId: string;
  readonly pointId: string;
  readonly topLayerId: string;
  readonly holder: string;
}

/**
 * The tree of layers (files) and points (moments) behind volumes, snapshots, images and backups.
 *
 * All ids are chosen by the caller, so that every call may be repeated after a crash. A *hold* keeps a point's bytes readable; who releases
 * the last one lets `tidy` merge or remove the layers behind it.
 */
export interface DisksService {
  /** Gives a volume without a disk an empty one, or one that starts from a point. Sets the volume's top layer and head point. */
  createDisk(volumeId: string, plan: { topLayerId: string; sizeBytes: number; fromPointId: string | null }): Promise<void>;
  /**
   * Makes a point of what the volume's disk holds now, and puts an empty layer on top of it: offline, or through the process that has
   * the disk open. Takes milliseconds. The point is held by `holder` before anything else can happen to it.
   */
  freeze(volumeId: string, plan: { pointId: string; topLayerId: string; holder: string }): Promise<void>;
  /**
   * As `freeze`, of several volumes while nobody else can do anything with any of their disks: all points are of one moment, also of disks that clients
   * are writing to. No write is in one of them while another that was acknowledged before it was sent is missing, except what a server that died had not
   * made durable.
   * Clients' writes wait meanwhile, as long as the slowest server takes, at most seconds; should this process die, they go on by themselves. When it
   * takes longer it fails. A failure may leave points that were made: the caller releases all of them.
   * A repeat of what was interrupted in the middle fails: the rest would be of another moment.
   */
  freezeTogether(plans: readonly FreezeOfOne[]): Promise<void>;
  /** Makes a frozen raw base and its point, with bytes that `write` puts into the target; it returns the ranges it wrote. */
  createBase(
    plan: { layerId: string; pointId: string; home: string; sizeBytes: number; holder: string },
    write: (target: LayerTarget) => Promise<ExtentSet>,
  ): Promise<void>;
  /**
   * Makes a frozen overlay above a held point, and its own point with that one as its parent. `write` puts into the target what turns the disk
   * below, which it is given, into another; it returns the ranges that it wrote, data and zeroes: the new point's journal. The point below stays
   * held, as by any reader, until this is over.
   */
  createOverlay(
    plan: { layerId: string; pointId: string; belowPointId: string; home: string; sizeBytes: number; holder: string },
    write: (target: LayerTarget, source: DiskSource) => Promise<ExtentSet>,
  ): Promise<void>;
  /** Puts a volume on another point with a fresh top layer. The old top and what only it needed goes away later (`tidy`). One transaction; refused while the disk is open, or the volume attached. */
  replaceDisk(volumeId: string, plan: { fromPointId: string; topLayerId: string; sizeBytes: number }): Promise<void>;
  /** Grows the disk of a volume that nobody has open. */
  resize(volumeId: string, sizeBytes: number): Promise<void>;
  /** The disk's size; undefined when the volume has none. */
  sizeOf(volumeId: string): Promise<number | undefined>;
  /** Takes the disk away from a volume that is being deleted. Points that others hold stay. */
  dropDisk(volumeId: string): Promise<void>;

  consistencyOf(pointId: string): Promise<PointConsistency>;
  hold(tx: Tx, pointId: string, holder: string): Promise<void>;
  release(tx: Tx, pointId: string, holder: string): Promise<void>;
  /** Removes layers that nobody needs and merges unnamed neighbours. Never touches a disk that is open or being read. Undefined: another process is at it. */
  tidy(): Promise<Tidied | undefined>;
  spaceInUse(): Promise<DiskSpace>;
  /** Undefined when the volume has no disk. */
  usageOf(volumeId: string): Promise<DiskUsage | undefined>;

  /** The bytes of a held point, for readers. */
  sourceOf(pointId: string): Promise<DiskSource>;
  recordRoot(tx: Tx, pointId: string, known: KnownRoot): Promise<void>;
  /** Forgets the roots that came from a session whose backup is gone. */
  forgetSession(tx: Tx, session: string): Promise<void>;
  /** Undefined: no point with a known root in this repository and domain can be reached over known journals. Then everything is read. */
  changesSince(pointId: string, where: { repositoryId: string; domain: string }): Promise<ChangesSince | undefined>;
  /**
   * A backup of the held point found that journals, or what its base notes of itself, are wrong. Roots and journals on the lines from it, and from the
   * point that the finding's session is known for, up to their oldest ancestors are given up, so that what follows reads everything. Repeatable, but not
   * after the point's new root was recorded.
   */
  distrust(pointId: string, finding: AuditFinding): Promise<void>;

  /** Starts (or finds) the server of a volume's bytes and returns where NBD clients connect. */
  openExport(volumeId: string, options: { readOnly: boolean }): Promise<{ socketPath: string }>;
  closeExport(volumeId: string): Promise<void>;
  /** At start: finds the servers that outlived the service, reads back what they serve, and makes the rows follow. */
  adoptExports(): Promise<void>;
}
