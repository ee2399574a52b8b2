/**
 * Where the bytes of a disk lie: what all its layers say, seen from above.
 *
 * The disk is looked at part by part, a few of which are kept. A map of the whole would have no bound: scattered writes make an extent of
 * every few kilobytes. And whoever reads a little of a large disk loads a little of its tables.
 */
import { ExtentMap, flatten, overlay } from './extent-map.ts';
import { grainsPerPart, type OpenLayer } from './load-layer.ts';

const grainBytesMin = 512;
/** Readers go through a disk in one direction; now and then they look back, or somewhere else. */
const keptParts = 4;

export class DiskMap {
  readonly sizeBytes: number;
  readonly #layers: readonly OpenLayer[];
  readonly #layersWithTables: readonly OpenLayer[];
  /** A multiple of the cluster size of every layer. */
  readonly #partBytes: number;
  /** The one used last comes last. */
  readonly #kept: ExtentMap[] = [];

  /**
   * Layers from the bottom to the top; extents name a layer's number as their file. `partBytes` is how much of the disk is looked at together,
   * a power of two: at least a cluster of each layer, and without it as much as suits the largest.
   */
  constructor(layers: readonly OpenLayer[], sizeBytes: number, partBytes?: number) {
    this.sizeBytes = sizeBytes;
    this.#layers = layers;
    this.#layersWithTables = layers.filter((layer) => layer.allocated === undefined);
    const grainBytes = layers.reduce((largest, layer) => Math.max(largest, layer.grainBytes), grainBytesMin);
    this.#partBytes = Math.max(grainBytes, partBytes ?? grainBytes * grainsPerPart);
  }

  /** The part of the disk that `offsetBytes` lies in. */
  partAt(offsetBytes: number): ExtentMap {
    const last = this.#kept.at(-1);
    if (last !== undefined && last.startBytes <= offsetBytes && offsetBytes < last.limitBytes) return last;
    const index = this.#kept.findIndex((part) => part.startBytes <= offsetBytes && offsetBytes < part.limitBytes);
    const [part = this.#load(offsetBytes)] = index === -1 ? [] : this.#kept.splice(index, 1);
    this.#kept.push(part);
    if (this.#kept.length > keptParts) this.#kept.shift();
    return part;
  }

  /** All parts that the tables of any layer say something about, ascending. A raw layer has none: it may be all of the disk. */
  *parts(): Generator<ExtentMap, void, void> {
    for (let at = this.#nextContent(0); at < this.sizeBytes; ) {
      const part = this.#load(at);
      yield part;
      at = this.#nextContent(part.limitBytes);
    }
  }

  #nextContent(fromBytes: number): number {
    return this.#layersWithTables.reduce((nearest, layer) => Math.min(nearest, contentAfter(layer, fromBytes)), this.sizeBytes);
  }

  #load(offsetBytes: number): ExtentMap {
    const start = Math.floor(offsetBytes / this.#partBytes) * this.#partBytes;
    const end = Math.min(start + this.#partBytes, this.sizeBytes);
    const maps: ExtentMap[] = [];
    for (const [file, layer] of this.#layers.entries()) {
      const isSeenThrough = layer.sizeBytes >= end && contentAfter(layer, start) >= end;
      if (!isSeenThrough) maps.push(layer.extents(start, end, file));
    }
    const whole = new ExtentMap(start, end);
    if (maps.length === 0) return whole;
    const flat = flatten(maps);
    return flat.limitBytes === end ? flat : overlay(whole, flat);
  }
}

/** Infinite when the layer says nothing from there on. */
function contentAfter(layer: OpenLayer, fromBytes: number): number {
  const next = layer.nextContent(fromBytes);
  return next < layer.sizeBytes ? next : Number.POSITIVE_INFINITY;
}
