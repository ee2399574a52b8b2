/**
 * What one layer holds itself, without the layers below it. For the process that also answers requests: it loads in steps, with a turn for
 * others every few milliseconds.
 */
import { closeSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ZERO } from './extent-map.ts';
import { ExtentSet } from './extent-set.ts';
import { type LayerFile, loadLayer, type OpenLayer } from './load-layer.ts';

export interface LayerContent {
  readonly data: ExtentSet;
  /** Set to zero without data of its own. */
  readonly zeroes: ExtentSet;
}

const turnMs = 4;

export async function layerContent(layer: LayerFile): Promise<LayerContent> {
  const { fd, map, allocated } = await loadInTurns(layer);
  closeSync(fd);
  if (allocated !== undefined) return { data: allocated, zeroes: ExtentSet.empty };
  const data = ExtentSet.builder();
  const zeroes = ExtentSet.builder();
  for (let i = 0; i < map.length; i += 1) (map.file(i) === ZERO ? zeroes : data).add(map.start(i), map.end(i));
  return { data: data.build(), zeroes: zeroes.build() };
}

/** The ranges that one layer changes over what lies below it: data and zeroes alike. */
export async function layerChanges(layer: LayerFile): Promise<ExtentSet> {
  const { data, zeroes } = await layerContent(layer);
  return data.union(zeroes);
}

async function loadInTurns(layer: LayerFile): Promise<OpenLayer> {
  const loading = loadLayer(layer, 0);
  let turnStartedAt = performance.now();
  for (;;) {
    const step = loading.next();
    if (step.done === true) return step.value;
    if (performance.now() - turnStartedAt < turnMs) continue;
    await nextTurn();
    turnStartedAt = performance.now();
  }
}
