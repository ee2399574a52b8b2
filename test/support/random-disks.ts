/**
 * Disks with a random history, made by QEMU's own tools: layers of all kinds that QEMU can write, written to, discarded, resized, folded
 * into each other and packed. A seed gives the same disk every time, whatever else is made beside it.
 *
 * Starting a process costs more than the work: one `qemu-io` writes a layer of all disks of a batch.
 */
import { execFile } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { DiskLayer } from '../../src/engine/disk/contract.ts';
import { ExtentSet } from '../../src/engine/disk/extent-set.ts';
import { extentsFileOf } from '../../src/engine/disk/raw-layer.ts';
import { type Dice, dice } from './dice.ts';
import { type LayerPlan, planLayer } from './random-layer-plan.ts';

const run = promisify(execFile);

export interface RandomDisk {
  readonly seed: number;
  /** Bottom first. Every disk has a qcow2 top. */
  readonly layers: readonly DiskLayer[];
  readonly sizeBytes: number;
  /** What was done, in order, for whoever looks into a failure. */
  readonly history: readonly string[];
}

interface Growing {
  readonly seed: number;
  readonly random: Dice;
  readonly layerCount: number;
  readonly layers: { path: string; format: 'raw' | 'qcow2' }[];
  readonly history: string[];
}

export interface RandomDisksOptions {
  /** Where files go, with the sources of content that `writeContents` made. */
  readonly folder: string;
  readonly layersMax?: number;
}

export async function makeRandomDisks(seeds: readonly number[], { folder, layersMax = 5 }: RandomDisksOptions): Promise<RandomDisk[]> {
  const disks = seeds.map((seed): Growing => {
    const random = dice(seed);
    return { seed, random, layerCount: random.pick([1, 2, 2, 3, 4, 5].filter((count) => count <= layersMax)), layers: [], history: [] };
  });
  for (let height = 0; height < layersMax; height += 1) {
    const growing = disks.filter((disk) => disk.layerCount > height);
    const planned = await inPairs(growing, (disk) => addLayer(disk, folder, height));
    await writeInto(
      folder,
      planned.flatMap((plan) => plan ?? []),
    );
    await inPairs(growing, (disk) => change(disk, folder));
  }
  return disks.map(({ seed, layers, history }) => {
    const sized = layers.map(({ path, format }): DiskLayer => ({ path, format, sizeBytes: sizeOf(path, format) }));
    return { seed, layers: sized, sizeBytes: sized.at(-1)?.sizeBytes ?? 0, history };
  });
}

export function removeDisk({ layers }: RandomDisk): void {
  for (const { path } of layers) for (const file of [path, extentsFileOf(path)]) rmSync(file, { force: true });
}

/** What `qemu-img` reads from each disk: a file of them all, one after the other. */
export async function bytesByQemu(disks: readonly RandomDisk[], folder: string): Promise<Buffer[]> {
  const path = join(folder, 'oracle.raw');
  await run('qemu-img', [
    'convert',
    '-t',
    'unsafe',
    '-f',
    'qcow2',
    '-O',
    'raw',
    ...disks.map((disk) => disk.layers.at(-1)?.path ?? ''),
    path,
  ]);
  const all = readFileSync(path);
  rmSync(path);
  let end = 0;
  const parts = disks.map(({ sizeBytes }) => {
    end += sizeBytes;
    return all.subarray(end - sizeBytes, end);
  });
  if (end !== all.length) throw new Error(`qemu-img read ${all.length} bytes from disks of ${end} bytes`);
  return parts;
}

/** The ranges that hold data and are not known to be zero, as `qemu-img map` sees them. */
export async function dataByQemu(disk: RandomDisk): Promise<ExtentSet> {
  const { stdout } = await run('qemu-img', ['map', '--output=json', '-f', 'qcow2', disk.layers.at(-1)?.path ?? ''], { maxBuffer: 2 ** 28 });
  const ranges = JSON.parse(stdout) as { start: number; length: number; data: boolean; zero: boolean }[];
  return ExtentSet.of(ranges.filter(({ data, zero }) => data && !zero).map(({ start, length }) => [start, start + length]));
}

/** Content in which every place looks different: noise, and letters that can be compressed. */
export function writeContents(folder: string): void {
  const random = dice(1);
  const noise = Buffer.alloc(300_007);
  for (let i = 0; i < noise.length; i += 1) noise[i] = random.below(256);
  writeFileSync(join(folder, 'noise'), noise);
  writeFileSync(join(folder, 'letters'), Buffer.from(noise.toString('hex').slice(0, 300_007)));
}

/** Two at a time: more does not help on small machines. */
export async function inPairs<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const take = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all([take(), take()]);
  return results;
}

async function qemuImg(disk: Growing, ...args: string[]): Promise<void> {
  disk.history.push(['qemu-img', ...args].join(' '));
  await run('qemu-img', args);
}

async function addLayer(disk: Growing, folder: string, height: number): Promise<LayerPlan | undefined> {
  const { random, layers } = disk;
  const path = (ending: string): string => join(folder, `${disk.seed}-${height}.${ending}`);
  if (height === 0 && disk.layerCount > 1 && random.chance(0.4)) {
    layers.push({ path: path('raw'), format: 'raw' });
    disk.history.push(writeRaw(path('raw'), random, folder));
    return undefined;
  }
  const below = layers.at(-1);
  const file = path('qcow2');
  const plan = planLayer(random, { path: file, folder, hasBelow: below !== undefined });
  const backing = below === undefined ? [] : ['-b', below.path, '-F', below.format];
  await qemuImg(disk, 'create', '-q', '-f', 'qcow2', '-o', plan.options, ...backing, file, String(plan.sizeBytes));
  if (plan.hasBitmap) await qemuImg(disk, 'bitmap', '--add', '--enable', '-f', 'qcow2', file, 'changes');
  layers.push({ path: file, format: 'qcow2' });
  disk.history.push(...plan.commands);
  return plan;
}

/** A raw base of any length, also one that ends inside a sector, with right, generous, damaged or no notes beside it. */
function writeRaw(path: string, random: Dice, folder: string): string {
  const sizeBytes = random.chance(0.5) ? 512 * random.below(6000) : random.below(3_000_000);
  const file = openSync(path, 'w');
  ftruncateSync(file, sizeBytes);
  const content = readFileSync(join(folder, 'noise'));
  const ranges: [number, number][] = [];
  for (let count = random.below(6); count > 0; count -= 1) {
    const start = random.below(sizeBytes);
    const end = Math.min(sizeBytes, start + 1 + random.below(200_000));
    writeSync(file, content, start % 1000, end - start, start);
    ranges.push([start, end]);
  }
  closeSync(file);
  const notes = ExtentSet.of(ranges).alignTo(random.pick([1, 512, 65_536]));
  const kind = random.pick(['no', 'right', 'damaged'] as const);
  if (kind !== 'no') writeFileSync(extentsFileOf(path), notes.encode().subarray(kind === 'damaged' ? 3 : 0));
  return `${path}: raw, ${sizeBytes} bytes, ${kind} notes, data at ${JSON.stringify(ranges)}`;
}

/** QEMU refuses compressed data over plain data, and what a version or a layout cannot have. The other commands count. */
const refusals = [
  /^(?:write|writev|discard) failed: (?:Input\/output error|Operation not supported|Invalid argument)$/,
  /^qemu-io: (?:Failed to zero out new clusters: Operation not supported|Preallocation can't be used for shrinking an image)$/,
];

async function writeInto(folder: string, plans: readonly LayerPlan[]): Promise<void> {
  const commands = plans.flatMap((plan) => plan.commands);
  if (commands.length === 0) return;
  const args = commands.flatMap((command) => ['-c', command]);
  const said = await run('qemu-io', args, { cwd: folder }).catch((error: { stdout: string; stderr: string }) => error);
  const unexpected = `${said.stdout}${said.stderr}`
    .split('\n')
    .filter((line) => line !== '' && !refusals.some((refusal) => refusal.test(line)));
  if (unexpected.length > 0) throw new Error(`qemu-io said: ${unexpected.join('\n')}`);
}

/** What happens to a layer once it is written: mostly nothing. */
async function change(disk: Growing, folder: string): Promise<void> {
  const { random, layers, history } = disk;
  const top = layers.at(-1);
  const below = layers.at(-2);
  if (top?.format !== 'qcow2') return;
  if (below !== undefined && random.chance(0.12)) {
    // What was noted of a raw base does not hold any more.
    rmSync(extentsFileOf(below.path), { force: true });
    const isDone = await tryCommit(disk, below.path, top.path);
    // A disk needs a qcow2 top, and what was committed in part is still hidden by what it came from.
    if (isDone && below.format === 'qcow2') rmSync(layers.pop()?.path ?? '');
  } else if (below === undefined && random.chance(0.25)) {
    const packed = `${top.path}.packed`;
    const options = `cluster_size=${random.pick(['512', '4k', '16k', '64k', '2M'])},compression_type=${random.pick(['zlib', 'zstd'])}`;
    await qemuImg(disk, 'convert', '-t', 'unsafe', '-c', '-f', 'qcow2', '-O', 'qcow2', '-o', options, top.path, packed);
    rmSync(top.path);
    top.path = packed;
  } else if (layers.length > 2 && random.chance(0.08)) {
    // Everything that shows through from the layer between is copied up.
    const [lower] = layers.splice(-3, 1);
    const under = layers.at(-2);
    if (lower === undefined || under === undefined) return;
    layers.splice(-2, 1, lower);
    await qemuImg(disk, 'rebase', '-t', 'unsafe', '-f', 'qcow2', '-F', lower.format, '-b', lower.path, top.path);
    rmSync(under.path, { force: true });
  }
  history.push(`# ${layers.length} layers in ${folder}`);
}

/** Fails where the lower layer can neither grow nor be told to be zero. */
async function tryCommit(disk: Growing, below: string, top: string): Promise<boolean> {
  try {
    await qemuImg(disk, 'commit', '-q', '-d', '-t', 'unsafe', '-f', 'qcow2', '-b', below, top);
    return true;
  } catch (error) {
    if (!String(error).includes('Operation not supported')) throw error;
    return false;
  }
}

function sizeOf(path: string, format: 'raw' | 'qcow2'): number {
  const file = openSync(path, 'r');
  try {
    if (format === 'raw') return readFileSync(file).length;
    const header = Buffer.alloc(32);
    readSync(file, header, 0, header.length, 0);
    return Number(header.readBigUInt64BE(24));
  } finally {
    closeSync(file);
  }
}
