/** What a layer is called: enough to find it. */
export interface LayerName {
  readonly id: string;
  readonly home: string;
  readonly format: 'raw' | 'qcow2';
}

/** A layer as it is stored, whatever anybody believes about it. */
export interface StoredLayer extends LayerName {
  readonly allocatedBytes: number;
  /** Its bytes have a name outside of the layers as well (an uploaded image lends its file to a base): removing the layer frees nothing. */
  readonly isShared: boolean;
  readonly modifiedAt: Date;
  /** What the layer says of itself; undefined when that cannot be read: then `damage` says why. */
  readonly content: { readonly sizeBytes: number; readonly below: LayerName | null } | undefined;
  /** What is wrong with it, in words. */
  readonly damage: string | undefined;
  /** Whether a server has it open for writing: one that runs, or one that has ended without closing it (`left`). */
  readonly openMark: 'none' | 'live' | 'left';
  /** Somebody took it back out of the trash to keep it. */
  readonly isKept: boolean;
}

/** Something that lies among the layers and is none. */
export interface StrayObject {
  /** Unique: `trashStray` takes it. */
  readonly name: string;
  /** Where people find it. */
  readonly place: string;
  readonly kind: /** A layer or a note that was never finished. */
    | 'unfinished'
    /** A note about a layer that is not there. */
    | 'note'
    /** Nothing that the backend makes. */
    | 'foreign';
  /** The layer that its name speaks of. */
  readonly layer: LayerName | undefined;
  readonly allocatedBytes: number;
  readonly modifiedAt: Date;
}

export interface TrashNote {
  readonly reason: string;
  readonly at: Date;
}

export interface TrashedItem {
  /** Unique: `restoreFromTrash` and `deleteFromTrash` take it. */
  readonly name: string;
  /** Undefined: it was a stray object. */
  readonly layer: LayerName | undefined;
  readonly trashedAt: Date;
  readonly reason: string;
  /** What its deletion frees. */
  readonly allocatedBytes: number;
}

/** What is left on this machine of the serving of a disk: a process, files, or both. */
export interface FoundExport {
  readonly name: string;
  /** Whose disk it serves; undefined when nothing tells. */
  readonly home: string | undefined;
  readonly isAlive: boolean;
  /** For people: the process, and what it serves. */
  readonly description: string;
}

export interface LayerCheck {
  /** In words; undefined: the layer is whole. */
  readonly damage: string | undefined;
  /** Space that is taken and not used. Harmless to the data. */
  readonly leakedBytes: number;
}

/**
 * What a volume backend really has, for comparing it with the rows, and the way back from a mistake.
 *
 * Nothing here looks at rows, and nothing removes a layer but `deleteFromTrash`. Whoever moves a layer must know that nobody is about to make or
 * use it. Every call may be repeated after a crash at any instant; what a call reports as done is durable.
 */
export interface LayerInventory {
  /** All there is, in any order. What is made or removed meanwhile may be missing or still be told. */
  listStored(): AsyncIterable<({ readonly type: 'layer' } & StoredLayer) | ({ readonly type: 'stray' } & StrayObject)>;
  /** One layer, looked at now. Undefined: there is none of this name. */
  findStored(name: LayerName): Promise<StoredLayer | undefined>;
  /** Where people find a layer, for messages. */
  placeOf(name: LayerName): string;

  /** Looks at all structures inside of a layer, as far as its format has any. Takes as long as reading them. `busy` when somebody writes to it. */
  checkLayer(name: LayerName, options: { readonly signal: AbortSignal }): Promise<LayerCheck>;
  /** Makes a layer whole that a program left open, or that takes space it does not use. `busy` when somebody has it open. */
  repairLayer(name: LayerName): Promise<void>;

  /** Puts a layer, with all that is noted about it, into the trash. False: it is not there (any more). `busy` when somebody writes to it. */
  trashLayer(name: LayerName, note: TrashNote): Promise<boolean>;
  /** The same with a stray object that is not foreign. */
  trashStray(name: string, note: TrashNote): Promise<boolean>;
  listTrash(): Promise<TrashedItem[]>;
  /**
   * Puts an item back to where it was. With `keep` a layer is marked as one that somebody wants although no row does. Never takes the place of anything
   * that is there (`mismatch`); `missing-layer` when the trash does not have the item, or not all of it.
   */
  restoreFromTrash(name: string, options: { readonly keep: boolean }): Promise<void>;
  /** Removes an item for good. One that is gone is no error. */
  deleteFromTrash(name: string): Promise<void>;

  /** Servers of disks on this machine that belong to this backend's state, and what dead ones left. */
  listExports(): Promise<FoundExport[]>;
  /** Under which name `listExports` tells of an export. */
  exportNameOf(exportId: string): string;
  /** Ends a server after flushing, and removes what is left of it. One that is gone is no error. */
  endFoundExport(name: string): Promise<void>;
}
