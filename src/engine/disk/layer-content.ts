/**
 * What one layer holds itself, without the layers below it. For the process that also answers requests: it works in steps, with a turn for
 * others every few milliseconds.
 */
import { closeSync } from 'node:fs';
import { inTurns, type Steps } from '../../lib/steps.ts';
import { type ExtentMap, ZERO } from './extent-map.ts';
import { ExtentSet } from './extent-set.ts';
import { type LayerFile, loadLayer, type OpenLayer } from './load-layer.ts';

export interface LayerContent {
  readonly data: ExtentSet;
  /** Set to zero without data of its own. */
  readonly zeroes: ExtentSet;
}

/** A fraction of a millisecond. */
const stepExtents = 16_384;

export async function layerContent(layer: LayerFile): Promise<LayerContent> {
  const { map, allocated } = await load(layer);
  if (allocated !== undefined) return { data: allocated, zeroes: ExtentSet.empty };
  return {
    data: await inTurns(rangesOf(map, (file) => file !== ZERO)),
    zeroes: await inTurns(rangesOf(map, (file) => file === ZERO)),
  };
}

/** The ranges that one layer changes over what lies below it: data and zeroes alike. */
export async function layerChanges(layer: LayerFile): Promise<ExtentSet> {
  const { map, allocated } = await load(layer);
  return allocated ?? (await inTurns(rangesOf(map, () => true)));
}

async function load(layer: LayerFile): Promise<OpenLayer> {
  const loaded = await inTurns(loadLayer(layer, 0));
  closeSync(loaded.fd);
  return loaded;
}

function* rangesOf(map: ExtentMap, isWanted: (file: number) => boolean): Steps<ExtentSet> {
  const ranges = ExtentSet.builder();
  for (let i = 0; i < map.length; i += 1) {
    if (isWanted(map.file(i))) ranges.add(map.start(i), map.end(i));
    if (i % stepExtents === stepExtents - 1) yield;
  }
  return ranges.build();
}
