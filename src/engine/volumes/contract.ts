import type { DiskSource, LayerTarget } from '../disk/contract.ts';
import type { ExtentSet } from '../disk/extent-set.ts';
import type { Reservation } from '../space/contract.ts';

/**
 * One node in the tree of immutable layers that disks are made of. `home` is the volume or image that made the layer; backends keep what has one
 * home together. `sizeBytes` is the virtual size. `format` is how the layer came to be, and what files are called: `raw` is a base that somebody
 * wrote as a whole, `qcow2` what was made empty, or holds changes. Backends without files need not have either format.
 */
export interface Layer {
  readonly id: string;
  readonly home: string;
  readonly format: 'raw' | 'qcow2';
  readonly sizeBytes: number;
}

/** The layers of one disk from the bottom to the top. Only the top is ever written. */
export type LayerChain = readonly Layer[];

/** A running server of one volume's bytes: survives the process that started it, and can be adopted by another. Plain data. */
export interface DiskExport {
  readonly id: string;
  readonly home: string;
  /** Where NBD clients connect: a unix socket with an unguessable name. They ask for `disk`. */
  readonly socketPath: string;
  /** For the backend alone. */
  readonly monitorPath: string;
  readonly processId: number;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  /** Called at most a few times a second. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** What one export serves right now, read back from the process itself. */
export interface ExportState {
  readonly alive: boolean;
  /** The layer ids from the bottom to the top; empty when the process is gone. */
  readonly layerIds: readonly string[];
}

/** Writes of clients that are held back. */
export interface WritePause {
  /** False once writes may have gone on. What was not done by then did not fall into the pause. */
  holds(): boolean;
  /** Writes go on, those that waited first. A server that does not listen goes on by itself. Never rejects, and may be called again. */
  resume(): Promise<void>;
}

/** The longest time that a pause of writes may be asked for. The systems of clients give up on a disk after 30 s and more. */
export const writePauseMsMax = 7_500;

/**
 * Where volumes' bytes live.
 *
 * Every call may be repeated with the same arguments after a crash at any instant and then has the same result
 * (`createLayer` of a layer that exists makes it anew: callers never repeat it once the layer was written to).
 * What a call reports as done is durable. A failed or aborted call leaves nothing that a repeat would trip over.
 *
 * A new layer is refused with a `SpaceError` when there is no space for it above the watermark; a call that meets a full disk in its middle
 * throws one, too, and all disks are as they were. Reading, removing and closing take no space.
 */
export interface VolumeBackend {
  /** Makes an empty layer above `below` (which may be empty: then the layer reads as zeroes). */
  createLayer(layer: Layer, below: LayerChain): Promise<void>;
  /** Where somebody else writes a new frozen layer above `below` (empty: a base). What an earlier attempt noted about it is forgotten. */
  prepareLayer(layer: Layer, below: LayerChain): Promise<LayerTarget>;
  /**
   * Makes a layer that was written at its target durable. `written` is what it holds, data and zeroes alike: remembered where the file
   * does not say it itself, else compared with the file. A layer that is not what the writer says is refused (`mismatch`).
   */
  sealLayer(layer: Layer, below: LayerChain, written: ExtentSet): Promise<void>;
  /** From now on all of a base counts as data: what was remembered about it is not true. Absent where nothing is remembered beside the bytes. */
  forgetAllocation?(layer: Layer): Promise<void>;
  /** Grows the top layer of a chain that nobody has open (`busy`). What is new reads as zeroes. Never makes it smaller (`mismatch`). */
  resizeTop(chain: LayerChain, sizeBytes: number): Promise<void>;
  /**
   * The ranges in which the disk of `chain` may differ from that of the layers below its (frozen) top: data and zeroes alike, up to the end of
   * the largest layer (a smaller top hides the end of what is below it). Too much is allowed, in any grain (whole objects, where a backend
   * compares snapshots); too little never: incremental backups read these ranges and nothing else.
   *
   * May be asked late and again, for as long as the top and the layer below it are there and nothing was folded into the top; the answer may
   * then hold more, never less. Undefined: it is not known (any more). Then everything counts as changed. Fails when the files cannot be read.
   */
  changesOf(chain: LayerChain): Promise<ExtentSet | undefined>;
  /**
   * The chain as plain data for the readers of `engine/disk`, in this process or another: prepared, so that it can be read at once.
   * All its layers must be frozen.
   */
  source(chain: LayerChain): Promise<DiskSource>;
  /** Folds `younger` (directly above `older`) into `older`, and makes `child` (directly above `younger`, if any) stand on `older`. All offline. */
  merge(older: Layer, younger: Layer, child: Layer | undefined, options: CallOptions): Promise<void>;
  /** Takes the space that the merge needs, or throws a `SpaceError`. To be held while it runs. */
  reserveMerge(older: Layer, younger: Layer): Promise<Reservation>;
  /**
   * Removes a layer on which nothing stands any more and that nobody writes to (`busy`), or what there is of one that was never sealed. A layer that
   * does not exist is no error. Whoever has opened its source reads on.
   */
  removeLayer(layer: Layer): Promise<void>;
  /** The bytes that the layer takes now, of its own: more than 0 when it exists, 0 when it does not. */
  allocatedBytes(layer: Layer): Promise<number>;
  /** Bytes that new data may still take above the watermark, beside what is reserved. */
  freeBytes(): Promise<number>;

  /**
   * Starts a server of the disk's bytes, as large as the top. `id` is new for each attempt; a server that runs under it already is this one when it serves
   * the same layers, and is ended when it serves others. One that writes is alone with its top (`busy`); any number may read what is frozen.
   */
  openExport(id: string, chain: LayerChain, options: { readOnly: boolean }): Promise<DiskExport>;
  /** Puts an (existing, empty) overlay on the top of an exported disk; what was the top is frozen, and durable, afterwards. */
  snapshotExport(target: DiskExport, chain: LayerChain, overlay: Layer): Promise<void>;
  /** Makes durable what clients have written so far, so that a snapshot soon after has little left to write. Changes nothing else. */
  writeOut(target: DiskExport, chain: LayerChain): Promise<void>;
  /**
   * Holds back what clients write, zero and discard on all of these disks, which are served for writing, so that one snapshot of each in the pause is one
   * moment of all: whatever was acknowledged before, or causes something that another of the snapshots holds, is in the snapshot of its own disk.
   * A write that waits may be completed by that very snapshot, and is in it. Reads and flushes go on.
   *
   * Lasts for `holdMs` at least, at most `writePauseMsMax`, and until `resume`. When the caller dies, writes go on by themselves within a second after
   * `holdMs`, later by some seconds for each whole GiB of discards and zeroes that waits, and perhaps not at full pace until `resumeWrites`. Rejects only when nothing is held back any more: with `gone` or `failed`, and with `mismatch`
   * for servers that cannot (they read only, or are of an older version).
   */
  pauseWrites(targets: readonly DiskExport[], holdMs: number): Promise<WritePause>;
  /** Ends what is left of a pause whose caller died; to be called when nobody pauses the disk. Where nothing is left it does nothing. */
  resumeWrites(target: DiskExport): Promise<void>;
  /**
   * Folds `younger` (directly above `older`, and not smaller) into `older` while a server has the disk open for writing; its clients notice
   * nothing. Both are frozen layers of the server's own home; afterwards it reads `chain` without `younger`, and has closed that layer. Nobody
   * else may read the two meanwhile. Rejects only when the server reads all of `chain` as before, after an abort within tens of milliseconds and
   * with the signal's reason; `failed` and `gone` mean that it could not be asked. A snapshot is not possible while it runs.
   */
  mergeExport(target: DiskExport, chain: LayerChain, older: Layer, younger: Layer, options: CallOptions): Promise<void>;
  inspectExport(target: DiskExport): Promise<ExportState>;
  /** Ends the server after flushing. One that is gone already is no error. */
  closeExport(target: DiskExport): Promise<void>;
}
