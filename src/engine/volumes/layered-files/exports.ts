/**
 * Servers of disks: one `qemu-storage-daemon` for each exported volume, in a cage, with an NBD socket for clients and a monitor for us.
 *
 * A daemon outlives the service. Whoever has its `DiskExport` can take it over: every call here begins by asking the daemon itself.
 * The mark beside the top layer is set before the daemon starts and removed after it ended cleanly (see open-marks.ts).
 */
import { crashPoint } from '../../../lib/crash-points.ts';
import { syncFile } from '../../../lib/durable-files.ts';
import { messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import { endProcess, isProcessAlive, waitForEnd } from '../../../lib/processes.ts';
import type { Confinement } from '../../confinement/run-confined.ts';
import { isStarting } from '../../qemu/program-start.ts';
import { connectQmp, type QmpClient, QmpError } from '../../qemu/qmp.ts';
import type { DiskExport, ExportState, LayerChain } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import { blockNode, nodeNamesOf, workingDirOf } from './block-nodes.ts';
import { waitUntilServing } from './daemon-start.ts';
import { type ExportFolder, exportFolderOf, makeExportFolder, readExport, recordExport, removeExportFolder } from './export-folder.ts';
import { daemonExportId, readGraph } from './export-graph.ts';
import { findStorageDaemon, storageDaemon } from './find-process.ts';
import { gateBlockNode, gateNode, gateObject, meterBlockNode, meterExport } from './gate-nodes.ts';
import type { LayerFile, LayerPaths } from './layer-paths.ts';
import { nameOf } from './offline-tools.ts';
import type { OpenMarks } from './open-marks.ts';

export interface ExportDeps {
  readonly paths: LayerPaths;
  readonly marks: OpenMarks;
  readonly confinement: Confinement;
  readonly runtimeDir: string;
  readonly log: Log;
}

/** Under this name NBD clients find the disk. */
export const nbdExportName = 'disk';

/** A clean end writes everything out first. */
const quitTimeoutMs = 60_000;
/** One of them is ours, while writes are held back. */
const connectionsMax = 17;
/** A layer that was a top keeps room for 32 MiB of tables, and a live snapshot adds one. */
const limits = { addressSpaceBytes: 64 * 1024 ** 3, openFiles: 4096 } as const;

export async function openExport(deps: ExportDeps, id: string, chain: LayerChain, options: { readOnly: boolean }): Promise<DiskExport> {
  const folder = exportFolderOf(deps.runtimeDir, id);
  const running = await takeOver(deps, folder, id, chain);
  if (running !== undefined) return running;
  const files = chain.map(deps.paths.fileOf);
  const top = files.at(-1);
  const home = chain.at(-1)?.home;
  if (top === undefined || home === undefined) throw new VolumeBackendError('mismatch', 'a disk has at least one layer');
  await deps.marks.settle(top);
  await repairMergeTargets(deps, deps.paths.filesIn(home, chain));
  if (!options.readOnly) await deps.marks.set(top, { owner: id, processId: null });
  try {
    return await start(deps, { id, home, chain, files, folder, readOnly: options.readOnly });
  } catch (error) {
    await endByForce(await findStorageDaemon(id), id);
    await removeExportFolder(folder);
    throw error;
  }
}

/**
 * What an earlier server was merging into when it was killed. Another server may be reading that layer by now, as a part of another volume's
 * disk: then its mark stays, which keeps merges off it.
 */
async function repairMergeTargets({ marks, log }: ExportDeps, own: readonly LayerFile[]): Promise<void> {
  for (const file of own) {
    await marks.settle(file).catch((error: unknown) => {
      log.info({ layer: nameOf(file), reason: messageOf(error) }, 'a layer cannot be repaired yet');
    });
  }
}

/** An earlier attempt with the same id may have come any distance. */
async function takeOver(deps: ExportDeps, folder: ExportFolder, id: string, chain: LayerChain): Promise<DiskExport | undefined> {
  const recorded = await readExport(folder);
  if (recorded !== undefined) {
    const state = await inspectExport(recorded);
    if (state.alive && state.layerIds.join() === chain.map((layer) => layer.id).join()) return recorded;
    await closeExport(deps, recorded);
  } else {
    await endByForce(await findStorageDaemon(id), id);
    await removeExportFolder(folder);
  }
  return undefined;
}

interface Start {
  readonly id: string;
  readonly home: string;
  readonly chain: LayerChain;
  readonly files: readonly LayerFile[];
  readonly folder: ExportFolder;
  readonly readOnly: boolean;
}

async function start(deps: ExportDeps, plan: Start): Promise<DiskExport> {
  const sockets = await makeExportFolder(plan.folder);
  const own = deps.paths.filesIn(plan.home, plan.chain).map((file) => file.path);
  const top = plan.chain.at(-1);
  const { processId } = await deps.confinement.launch({
    command: storageDaemon,
    args: daemonArguments(plan, sockets, own),
    // New overlays appear in the home of the top, and its frozen layers are merged. All else is visible file by file.
    readWrite: [plan.folder.path, ...(top === undefined ? [] : [deps.paths.homeOf(top)])],
    readOnly: plan.files.map((file) => file.path).filter((path) => plan.readOnly || !own.includes(path)),
    workingDir: workingDirOf(plan.files.at(-1) as LayerFile),
    limits,
    logPath: plan.folder.logPath,
  });
  const diskExport: DiskExport = { id: plan.id, home: plan.home, ...sockets, processId };
  try {
    crashPoint('export:launch:after');
    await waitUntilServing(diskExport, plan.folder);
  } catch (error) {
    // Nobody was told of it yet, so it has nothing to write out; and before its start is complete it does not hear SIGTERM.
    if (await isStarting({ processId, mark: plan.id })) await endByForce(processId, plan.id, ['SIGKILL']);
    throw error;
  }
  if (!plan.readOnly) await deps.marks.set(plan.files.at(-1) as LayerFile, { owner: plan.id, processId });
  await recordExport(plan.folder, diskExport);
  return diskExport;
}

function daemonArguments(plan: Start, sockets: { socketPath: string; monitorPath: string }, own: readonly string[]): string[] {
  const args: string[] = [];
  const add = (option: string, value: object): number => args.push(`--${option}`, JSON.stringify(value));
  const isGated = !plan.readOnly;
  if (isGated) {
    add('object', gateObject);
    add('blockdev', meterBlockNode);
  }
  let backing: string | null = null;
  plan.files.forEach((file, i) => {
    const isTop = i === plan.files.length - 1;
    const access = plan.readOnly || !own.includes(file.path) ? 'read-only' : isTop ? 'writable' : 'mergeable';
    add('blockdev', blockNode(file, { access, backing, isNamed: true }));
    backing = nodeNamesOf(file).format;
  });
  if (isGated) add('blockdev', gateBlockNode(nodeNamesOf(plan.files.at(-1) as LayerFile).format));
  args.push('--nbd-server', `addr.type=unix,addr.path=${escapeComma(sockets.socketPath)},max-connections=${connectionsMax}`);
  if (isGated) add('export', meterExport);
  const served = isGated ? gateNode : backing;
  add('export', { type: 'nbd', id: daemonExportId(plan.id), 'node-name': served, name: nbdExportName, writable: !plan.readOnly });
  args.push('--chardev', `socket,id=monitor,path=${escapeComma(sockets.monitorPath)},server=on,wait=off`, '--monitor', 'chardev=monitor');
  args.push('--pidfile', plan.folder.pidPath);
  return args;
}

/** In option strings a comma ends a value. */
const escapeComma = (path: string): string => path.replaceAll(',', ',,');

/** Runs `work` on the monitor of a live export. */
export async function withMonitor<T>(target: DiskExport, work: (monitor: QmpClient) => Promise<T>): Promise<T> {
  if (!isProcessAlive(target.processId, target.id)) throw new VolumeBackendError('gone', 'the server of the disk has ended');
  const monitor = await connectQmp(target.monitorPath);
  try {
    return await work(monitor);
  } finally {
    monitor.close();
  }
}

export async function inspectExport(target: DiskExport): Promise<ExportState> {
  try {
    const { layerIds } = await withMonitor(target, (monitor) => readGraph(monitor, target.id));
    return { alive: true, layerIds };
  } catch (error) {
    // It may end while it is being asked.
    if (!(await waitForEnd(target.processId, target.id, error instanceof QmpError && error.failure === 'disconnected' ? 1000 : 0)))
      throw error;
    return { alive: false, layerIds: [] };
  }
}

export async function closeExport(deps: ExportDeps, target: DiskExport): Promise<void> {
  const folder = exportFolderOf(deps.runtimeDir, target.id);
  if (isProcessAlive(target.processId, target.id)) {
    const served = await quit(deps, target);
    for (const file of served) {
      if ((await deps.marks.ownerOf(file)) !== target.id) continue;
      await syncFile(file.path);
      await deps.marks.clear(file, target.id);
    }
  }
  crashPoint('export:quit:after');
  await removeExportFolder(folder);
}

/** Returns the layers that may have been written until the clean end; none when the end was not clean: then their marks stay. */
async function quit(deps: ExportDeps, target: DiskExport): Promise<LayerFile[]> {
  try {
    const served = await withMonitor(target, async (monitor) => {
      const graph = await readGraph(monitor, target.id);
      await monitor.execute('quit');
      // Layers of other homes have no marks of ours: looking for them here finds nothing.
      return graph.layers.map((layer) => deps.paths.fileOf({ ...layer, home: target.home }));
    });
    if (!(await waitForEnd(target.processId, target.id, quitTimeoutMs))) throw new Error('it did not end');
    return served;
  } catch (error) {
    deps.log.warn({ exportId: target.id, reason: messageOf(error) }, 'the server of a disk is ended by force');
    await endByForce(target.processId, target.id);
    return [];
  }
}

/** First with a signal that lets the daemon write everything out. */
async function endByForce(
  processId: number | undefined,
  id: string,
  signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGKILL'],
): Promise<void> {
  if (processId === undefined) return;
  if (await endProcess(processId, id, signals)) return;
  throw new VolumeBackendError('busy', `the server of the disk (process ${processId}) cannot be ended`);
}
