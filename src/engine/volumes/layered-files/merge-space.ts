import { stat } from 'node:fs/promises';
import { layerContent } from '../../disk/layer-content.ts';
import type { LayerFile } from './layer-paths.ts';

/** Room for tables that describe what was not there before. */
const tableBytes = 2 ** 20;

/** What `older` grows by at most: what `younger` takes, without the data that is written over. What is new, zeroes too, may need tables. */
export async function growthByMerge(older: LayerFile, younger: LayerFile): Promise<number> {
  const stats = await stat(younger.path).catch(() => undefined);
  if (stats === undefined) return 0;
  const [below, above] = await Promise.all([layerContent(older), layerContent(younger)]);
  const newBytes = above.data.subtract(below.data).totalBytes;
  const known = below.data.union(below.zeroes);
  if (newBytes === 0 && above.zeroes.subtract(known).totalBytes === 0) return 0;
  return Math.max(0, stats.blocks * 512 - (above.data.totalBytes - newBytes)) + tableBytes;
}
