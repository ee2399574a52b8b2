/**
 * The engine alone, side by side with zstd and restic in one run: full, incremental (scattered and in runs), unchanged, restore to a new file and
 * onto what a disk holds.
 *
 *     node bench/engine.ts [--rounds N] [--folder DIR] [--without-restic]
 *
 * Every tool runs at the priority of the mover, so that a machine with other work is fair to all. Every engine figure starts a data mover, as a command of the other tools starts a process; `warm` figures use one that runs already, as
 * the service does. All outputs are flushed to the disk, except those of restic's restore, which does not offer it. Before each command
 * some gigabytes of memory are touched and freed, because a virtual machine may have given freed memory back to its host.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ExtentSet } from '../src/engine/disk/extent-set.ts';
import type { BackupOrder, BackupOutcome, DataMover, RepositoryAddress } from '../src/engine/transfer/contract.ts';
import { createDataMover } from '../src/engine/transfer/data-mover-client.ts';
import { changeDataset, copyDataset, type Dataset, makeDataset } from './dataset.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: '/tmp/stillpoint-bench' },
    'without-restic': { type: 'boolean', default: false },
  },
});
// As the service does it.
enableCompileCache(join(values.folder, 'compile-cache'));
const rounds = Number(values.rounds);
const root = values.folder;
const work = join(root, 'work');
const entryPath = join(import.meta.dirname, '../src/main/data-mover.ts');
const log = { debug() {}, info() {}, warn: console.error, error: console.error };
const results = new Map<string, number[]>();
const notes = new Map<string, string>();

function note(name: string, milliseconds: number, text = ''): void {
  results.set(name, [...(results.get(name) ?? []), milliseconds]);
  if (text !== '') notes.set(name, text);
}

function warmMemory(): void {
  const program =
    'const a=[];for(let i=0;i<4096;i++){const b=Buffer.allocUnsafeSlow(1<<20);for(let j=0;j<b.length;j+=4096)b[j]=1;a.push(b)}';
  execFileSync(process.execPath, ['-e', program]);
}

function time(name: string, command: string, args: readonly string[], environment: Record<string, string> = {}): void {
  warmMemory();
  const startedMs = performance.now();
  const { status } = spawnSync('nice', ['-n', '10', command, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...environment },
  });
  note(name, performance.now() - startedMs);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed`);
}

/** The highest resident memory of the mover's process, from the kernel. */
function peakMemoryMib(): number {
  for (const task of readdirSync('/proc/self/task')) {
    for (const child of readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ').filter(Boolean)) {
      const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child}/status`, 'utf8'));
      if (peak?.[1] !== undefined) return Math.round(Number(peak[1]) / 1024);
    }
  }
  return 0;
}

async function withMover<T>(name: string, use: (mover: DataMover) => Promise<T>, describe: (result: T) => string = () => ''): Promise<T> {
  warmMemory();
  const startedMs = performance.now();
  const mover = createDataMover({ entryPath, log });
  const result = await use(mover);
  const elapsedMs = performance.now() - startedMs;
  note(name, elapsedMs, `${describe(result)}, peak ${peakMemoryMib()} MiB`);
  await mover.stop();
  return result;
}

const session = (): string => randomBytes(16).toString('hex');
const quiet = { signal: new AbortController().signal };
const stored = ({ storedBytes, readBytes, baseProblem }: BackupOutcome): string =>
  `${baseProblem === undefined ? '' : `${baseProblem}! `}read ${(readBytes / 1e6).toFixed(0)} MB, stored ${(storedBytes / 1e6).toFixed(1)} MB`;

function orderOf(repository: RepositoryAddress, dataset: Dataset, base?: BackupOutcome, changed = ExtentSet.empty): BackupOrder {
  const { imagePath: path, sizeBytes } = dataset;
  const volume = { id: 'v', name: null, description: null, sizeGib: 4, bootable: false, metadata: {}, imageMetadata: {} };
  return {
    repository,
    domain: 'bench',
    session: session(),
    formerSessions: [],
    source: { layers: [{ path, format: 'raw', sizeBytes }], sizeBytes },
    describe: {
      backupId: session(),
      projectId: 'bench',
      name: null,
      description: null,
      volume,
      snapshotId: null,
      parentBackupId: null,
      dataTimestamp: new Date().toISOString(),
      createdAt: new Date().toISOString(),
    },
    ...(base === undefined ? {} : { base: { session: base.session, root: base.root, changed: changed.encode().toString('base64') } }),
  };
}

async function engineRound(dataset: Dataset, round: number): Promise<void> {
  const folder = join(work, 'engine');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const repository: RepositoryAddress = {
    id: 'bench',
    store: { kind: 'filesystem', path: join(folder, 'store') },
    keyFile: join(folder, 'key'),
    cacheDir: join(folder, 'cache'),
  };
  const target = { path: join(folder, 'restored.raw'), sizeBytes: dataset.sizeBytes };
  const full = await withMover(
    'full backup',
    async (mover) => {
      await mover.initRepository(repository);
      return mover.backup(orderOf(repository, dataset), quiet);
    },
    stored,
  );
  // Each starts from the one before: the audit of a backup notices changes that it is not told of.
  let last = full;
  for (const shape of ['scattered', 'runs'] as const) {
    const changed = changeDataset(dataset, shape, 0.02, round);
    last = await withMover(`incremental 2 % ${shape}`, (mover) => mover.backup(orderOf(repository, dataset, last, changed), quiet), stored);
    if (shape !== 'scattered') continue;
    await restoreOntoFigures(repository, dataset, full, changed);
    last = await warmFigures(repository, dataset, last, round);
  }
  await withMover('unchanged', (mover) => mover.backup(orderOf(repository, dataset, last), quiet), stored);
  await withMover('restore to a new file', (mover) =>
    mover.restore(
      { repository, domain: 'bench', session: full.session, targetPath: target.path, targetSizeBytes: target.sizeBytes },
      quiet,
    ),
  );
  rmSync(folder, { recursive: true });
}

/** The disk as it is now goes back to what a backup holds: knowing what changed since, and without. */
async function restoreOntoFigures(
  repository: RepositoryAddress,
  dataset: Dataset,
  backup: BackupOutcome,
  changed: ExtentSet,
): Promise<void> {
  const { imagePath: path, sizeBytes } = dataset;
  const target = { path: join(work, 'overlay.qcow2'), format: 'qcow2', sizeBytes, backing: { name: path, format: 'raw' } } as const;
  const current = { layers: [{ path, format: 'raw' as const, sizeBytes }], sizeBytes };
  const order = { repository, domain: 'bench', session: backup.session, current, target };
  const known = { session: backup.session, root: backup.root, changed: changed.encode().toString('base64') };
  for (const [name, more] of [
    ['restore onto the disk, 2 % differ', { known }],
    ['the same, all of it compared', {}],
  ] as const) {
    await withMover(
      name,
      (mover) => mover.restoreOnto({ ...order, ...more }, quiet),
      (outcome) =>
        outcome.kind === 'restored'
          ? `compared ${(outcome.comparedBytes / 1e6).toFixed(0)} MB, wrote ${(outcome.writtenBytes / 1e6).toFixed(1)} MB`
          : outcome.reason,
    );
    rmSync(target.path, { force: true });
  }
}

async function warmFigures(repository: RepositoryAddress, dataset: Dataset, base: BackupOutcome, round: number): Promise<BackupOutcome> {
  const mover = createDataMover({ entryPath, log });
  let last = await mover.backup(orderOf(repository, dataset, base), quiet);
  for (const [name, fraction] of [
    ['unchanged, warm', 0],
    ['incremental 2 % scattered, warm', 0.02],
  ] as const) {
    const changed = fraction === 0 ? ExtentSet.empty : changeDataset(dataset, 'scattered', fraction, round + 1000);
    const startedMs = performance.now();
    last = await mover.backup(orderOf(repository, dataset, last, changed), quiet);
    note(name, performance.now() - startedMs, stored(last));
  }
  await mover.stop();
  return last;
}

function toolsRound(dataset: Dataset, round: number): void {
  const folder = join(work, 'tools');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  time('zstd -1 -T2, flushed', 'sh', [
    '-c',
    `zstd -q -1 -T2 '${dataset.imagePath}' -o '${folder}/image.zst' && sync '${folder}/image.zst'`,
  ]);
  time('cp --sparse=always', 'cp', ['--sparse=always', dataset.imagePath, join(folder, 'copy.raw')]);
  time('cp, flushed', 'sh', ['-c', `cp --sparse=always '${dataset.imagePath}' '${folder}/copy2.raw' && sync '${folder}/copy2.raw'`]);
  if (!values['without-restic']) resticRound(dataset, folder, round);
  rmSync(folder, { recursive: true });
}

function resticRound(dataset: Dataset, folder: string, round: number): void {
  const environment = {
    RESTIC_REPOSITORY: join(folder, 'restic'),
    RESTIC_PASSWORD: 'bench',
    RESTIC_CACHE_DIR: join(folder, 'cache'),
    XDG_CACHE_HOME: folder,
  };
  execFileSync('restic', ['init', '-q'], { env: { ...process.env, ...environment } });
  const sizeOfRepository = (): number => Number(execFileSync('du', ['-sb', join(folder, 'restic')], { encoding: 'utf8' }).split('\t')[0]);
  time('restic full backup', 'restic', ['backup', '-q', dataset.imagePath], environment);
  const before = sizeOfRepository();
  changeDataset(dataset, 'scattered', 0.02, round);
  time('restic incremental 2 % scattered', 'restic', ['backup', '-q', dataset.imagePath], environment);
  notes.set('restic incremental 2 % scattered', `stored ${((sizeOfRepository() - before) / 1e6).toFixed(1)} MB`);
  time('restic unchanged (forced to read)', 'restic', ['backup', '-q', '--force', dataset.imagePath], environment);
  time('restic restore', 'restic', ['restore', '-q', 'latest', '--target', join(folder, 'out')], environment);
}

function report(): void {
  const format = (milliseconds: number): string =>
    milliseconds < 1000 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(2)} s`;
  console.log(`\n${'work'.padEnd(36)}${'min'.padStart(10)}${'median'.padStart(10)}${'max'.padStart(10)}`);
  for (const [name, times] of results) {
    const sorted = times.toSorted((a, b) => a - b);
    const [least, middle, most] = [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)].map((value) => format(value ?? 0).padStart(10));
    console.log(`${name.padEnd(36)}${least}${middle}${most}  ${notes.get(name) ?? ''}`);
  }
}

const original = makeDataset(root);
console.log(
  `dataset: ${(original.allocated.totalBytes / 1e6).toFixed(0)} MB allocated of ${(statSync(original.imagePath).size / 1e6).toFixed(0)} MB`,
);
for (let round = 0; round < rounds; round += 1) {
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const dataset = copyDataset(original, join(work, 'disk.raw'));
  await engineRound(dataset, round);
  toolsRound(copyDataset(original, join(work, 'disk.raw')), round);
  if (existsSync(work)) rmSync(work, { recursive: true });
  console.log(`round ${round + 1} of ${rounds} done`);
}
report();
