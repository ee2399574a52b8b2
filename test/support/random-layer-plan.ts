/** What one random qcow2 layer is made with, and what `qemu-io` is told to do to it. */
import type { Dice } from './dice.ts';

export interface LayerPlan {
  /** For `qemu-img create -o`. */
  readonly options: string;
  readonly sizeBytes: number;
  readonly hasBitmap: boolean;
  /** For `qemu-io`, which begins without a file: opens the layer once or twice, and closes it. */
  readonly commands: readonly string[];
}

export interface LayerPlace {
  readonly path: string;
  /** Has the files `noise` and `letters`. */
  readonly folder: string;
  readonly hasBelow: boolean;
}

const sectorBytes = 512;
/** With smaller ones QEMU 7.2 overwrites its own tables now and then, when several are compressed at once. */
const packedClusterBytesMin = 4096;

interface Layout {
  readonly options: readonly string[];
  readonly clusterBytes: number;
  readonly isOldVersion: boolean;
}

export function planLayer(random: Dice, place: LayerPlace): LayerPlan {
  const layout = planLayout(random, place.hasBelow);
  const sizeBytes = planSize(random, layout);
  const commands: string[] = [];
  for (let sessions = random.pick([1, 1, 2]); sessions > 0; sessions -= 1) commands.push(...planSession(random, place, layout, sizeBytes));
  return { options: layout.options.join(','), sizeBytes, hasBitmap: !layout.isOldVersion && random.chance(0.06), commands };
}

function planLayout(random: Dice, hasBelow: boolean): Layout {
  if (random.chance(0.3)) return { options: ['extended_l2=on', 'cluster_size=65536'], clusterBytes: 65_536, isOldVersion: false };
  const isOldVersion = random.chance(0.12);
  const clusterBytes = 2 ** random.pick([9, 12, 12, 13, 14, 16, 16, 16, 17, 20, 21]);
  const hasSubclusters = !isOldVersion && clusterBytes >= 2 ** 14 && random.chance(0.4);
  const options = [`cluster_size=${clusterBytes}`];
  if (isOldVersion) options.push('compat=0.10');
  if (hasSubclusters) options.push('extended_l2=on');
  if (!isOldVersion && random.chance(0.4)) options.push('compression_type=zstd');
  if (!isOldVersion && random.chance(0.2)) options.push('lazy_refcounts=on');
  if (!isOldVersion && random.chance(0.2)) options.push(`refcount_bits=${random.pick([1, 8, 32, 64])}`);
  if ((!hasBelow || hasSubclusters) && random.chance(0.25)) options.push(`preallocation=${random.pick(['metadata', 'falloc', 'full'])}`);
  return { options, clusterBytes, isOldVersion };
}

/** Mostly small, sometimes many clusters, never a multiple of anything but sectors. */
function planSize(random: Dice, { clusterBytes }: Layout): number {
  const sectors = random.chance(0.9) ? 6000 : Math.min(80_000, (40 * clusterBytes) / sectorBytes + 6000);
  return sectorBytes * (1 + random.below(sectors));
}

function planSession(random: Dice, { path, folder }: LayerPlace, layout: Layout, sizeBytes: number): string[] {
  const discard = random.pick(['unmap', 'unmap', 'ignore']);
  // What nobody else reads meanwhile need not reach the disk.
  const options = [`driver=qcow2,file.filename=${path},discard=${discard},cache.no-flush=on`];
  if (random.chance(0.2)) options.push(`detect-zeroes=${discard === 'unmap' ? 'unmap' : 'on'}`);
  if (random.chance(0.3)) options.push('pass-discard-request=on');
  const commands = Array.from({ length: random.below(10) }, () => planCommand(random, folder, layout, sizeBytes));
  return [`open -o ${options.join(',')}`, ...commands, 'close'];
}

function planCommand(random: Dice, folder: string, { clusterBytes, isOldVersion }: Layout, sizeBytes: number): string {
  const noise = `-s ${folder}/noise`;
  const letters = `-s ${folder}/letters`;
  const kinds = [
    `write -q ${noise}`,
    `write -q ${letters}`,
    `write -q -P ${1 + random.below(255)}`,
    'write -q -z',
    'write -q -z -u',
    'discard -q',
  ];
  const special = clusterBytes < packedClusterBytesMin ? ['writev', 'truncate'] : ['packed', 'packed', 'writev', 'truncate'];
  const kind = random.pick([...kinds, `write -q ${noise}`, ...special]);
  if (kind === 'truncate') return planTruncate(random, sizeBytes, isOldVersion);
  // Only whole clusters can be compressed; QEMU refuses the others, and those that hold plain data.
  const grain = kind === 'packed' ? clusterBytes : random.pick([1, sectorBytes, sectorBytes, 2048, 4096, 4096, 65_536, clusterBytes]);
  const offset = Math.floor(random.below(sizeBytes) / grain) * grain;
  const lengthMax = random.pick([sectorBytes, 8192, 40_000, 3 * clusterBytes, 300_000]);
  const length = Math.max(1, Math.min(Math.ceil((1 + random.below(lengthMax)) / grain) * grain, sizeBytes - offset));
  if (kind === 'packed') return `write -q -c ${random.pick([letters, letters, noise, '-P 7'])} ${offset} ${length}`;
  if (kind === 'writev') return `writev -q -P ${1 + random.below(255)} ${offset} ${Math.ceil(length / 2)} ${Math.floor(length / 2)}`;
  return `${kind} ${offset} ${length}`;
}

function planTruncate(random: Dice, sizeBytes: number, isOldVersion: boolean): string {
  const preallocation = isOldVersion || random.chance(0.7) ? 'off' : random.pick(['metadata', 'falloc']);
  const sectors = Math.ceil(sizeBytes / sectorBytes);
  const isShrinking = preallocation === 'off' && random.chance(0.3);
  const size = sectorBytes * (isShrinking ? 1 + random.below(sectors) : sectors + random.below(2000));
  return `truncate -m ${preallocation} ${size}`;
}
