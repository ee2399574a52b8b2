/**
 * What one layer holds itself, without the layers below it. For the process that also answers requests: it works in steps, with a turn for
 * others every few milliseconds.
 */
import { closeSync } from 'node:fs';
import { inTurns, type Steps } from '../../lib/steps.ts';
import { ZERO } from './extent-map.ts';
import { ExtentSet } from './extent-set.ts';
import { extentsOf, type LayerFile, type OpenLayer, openLayer } from './load-layer.ts';

export interface LayerContent {
  readonly data: ExtentSet;
  /** Set to zero without data of its own. */
  readonly zeroes: ExtentSet;
}

/** A fraction of a millisecond. */
const stepExtents = 16_384;

export function layerContent(layer: LayerFile): Promise<LayerContent> {
  return withLayer(layer, async (opened) => {
    const { allocated } = opened;
    return allocated === undefined ? await inTurns(contentOf(opened)) : { data: allocated, zeroes: ExtentSet.empty };
  });
}

/** The ranges that one layer changes over what lies below it: data and zeroes alike. */
export function layerChanges(layer: LayerFile): Promise<ExtentSet> {
  return withLayer(layer, async (opened) => opened.allocated ?? (await inTurns(changesOf(opened))));
}

async function withLayer<T>(layer: LayerFile, work: (opened: OpenLayer) => Promise<T>): Promise<T> {
  const opened = openLayer(layer);
  try {
    return await work(opened);
  } finally {
    closeSync(opened.fd);
  }
}

function* contentOf(layer: OpenLayer): Steps<LayerContent> {
  const data = ExtentSet.builder();
  const zeroes = ExtentSet.builder();
  yield* eachExtent(layer, (start, end, isZero) => (isZero ? zeroes : data).add(start, end));
  return { data: data.build(), zeroes: zeroes.build() };
}

function* changesOf(layer: OpenLayer): Steps<ExtentSet> {
  const changes = ExtentSet.builder();
  yield* eachExtent(layer, (start, end) => changes.add(start, end));
  return changes.build();
}

function* eachExtent(layer: OpenLayer, note: (start: number, end: number, isZero: boolean) => void): Steps<void> {
  for (const map of extentsOf(layer)) {
    for (let i = 0; i < map.length; i += 1) {
      note(map.start(i), map.end(i), map.file(i) === ZERO);
      if (i % stepExtents === stepExtents - 1) yield;
    }
    yield;
  }
}
