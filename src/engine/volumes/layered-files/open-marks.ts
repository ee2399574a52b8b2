/**
 * Marks beside layers that a program may have open for writing.
 *
 * A program that is killed leaves clusters in a qcow2 file that are counted as used and used by nobody: harmless to the data, but the
 * file is larger than it says. So a mark is made durable before a layer is opened for writing, and removed after a clean close;
 * whoever finds the mark of a program that is gone repairs the layer before anything else happens to it.
 */
import { readFile, rm } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { replaceBytesDurably } from '../../../lib/durable-files.ts';
import { isProcessAlive, ProcessError } from '../../../lib/processes.ts';
import type { Confinement } from '../../confinement/run-confined.ts';
import { VolumeBackendError } from '../errors.ts';
import { asFileName, blockNode, workingDirOf } from './block-nodes.ts';
import { findStorageDaemon } from './find-process.ts';
import type { LayerFile, LayerPaths } from './layer-paths.ts';

export interface OpenMark {
  /** In the arguments of the program that has the layer open. */
  readonly owner: string;
  /** Null until it is known: then the owner must be searched for. */
  readonly processId: number | null;
}

export interface OpenMarks {
  set(file: LayerFile, mark: OpenMark): Promise<void>;
  /** With `owner`: only if it is the owner's mark. */
  clear(file: LayerFile, owner?: string): Promise<void>;
  /** Alive or not; empty when nobody knows any more. Undefined: the layer has no mark. */
  ownerOf(file: LayerFile): Promise<string | undefined>;
  /** The mark of a program that still runs. */
  liveOwner(file: LayerFile): Promise<OpenMark | undefined>;
  /** Makes sure that nobody has the layer open, and that it is whole. */
  settle(file: LayerFile): Promise<void>;
}

/** `qemu-img check`: 3 = leaks were found and not repaired. */
const leaksRemain = 3;
const checkTimeoutMs = 60 * 60 * 1000;

export function createOpenMarks(paths: LayerPaths, confinement: Confinement): OpenMarks {
  const read = async (file: LayerFile): Promise<OpenMark | undefined> => {
    try {
      return parseMark(await readFile(paths.markOf(file), 'utf8'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  };
  const isAlive = async (mark: OpenMark): Promise<boolean> => {
    if (mark.owner === '') return false;
    if (mark.processId === null) return (await findStorageDaemon(mark.owner)) !== undefined;
    return isProcessAlive(mark.processId, mark.owner);
  };
  const marks: OpenMarks = {
    set: (file, mark) => replaceBytesDurably(paths.markOf(file), Buffer.from(JSON.stringify(mark))),
    async clear(file, owner) {
      // Not synced: a mark that comes back after a power cut costs one more check.
      if (owner === undefined || (await read(file))?.owner === owner) await rm(paths.markOf(file), { force: true });
    },
    ownerOf: async (file) => (await read(file))?.owner,
    async liveOwner(file) {
      const mark = await read(file);
      return mark !== undefined && (await isAlive(mark)) ? mark : undefined;
    },
    async settle(file) {
      const mark = await read(file);
      if (mark === undefined) return;
      if (await isAlive(mark)) throw new VolumeBackendError('busy', `${file.path} is open in process ${mark.processId ?? '(unknown)'}`);
      if (file.format === 'qcow2') await repairLeaks(confinement, file);
      await marks.clear(file);
    },
  };
  return marks;
}

/** A program whose first thread has ended keeps its locks until the last one has, a moment later. */
const lockLingersMs = 5_000;
const lockPauseMs = 20;

async function repairLeaks(confinement: Confinement, file: LayerFile): Promise<void> {
  const until = performance.now() + lockLingersMs;
  for (;;) {
    try {
      await repairLeaksOnce(confinement, file);
      return;
    } catch (error) {
      if (!isLocked(error) || performance.now() > until) throw error;
      await pause(lockPauseMs);
    }
  }
}

/** Whether a tool of QEMU found that another program has the file open. */
export const isLocked = (error: unknown): boolean =>
  error instanceof ProcessError && /Failed to get .*lock/.test(error.result?.stderr ?? '');

async function repairLeaksOnce(confinement: Confinement, file: LayerFile): Promise<void> {
  const node = blockNode(file, { access: 'writable', backing: null });
  await confinement.run({
    command: 'qemu-img',
    args: ['check', '-q', '-r', 'leaks', asFileName(node)],
    readWrite: [file.path],
    workingDir: workingDirOf(file),
    timeoutMs: checkTimeoutMs,
    exitCodes: [0, leaksRemain],
  });
}

/** A mark that a power cut left empty or torn says: somebody had the layer open, and is gone. */
function parseMark(text: string): OpenMark {
  try {
    const mark = JSON.parse(text) as Partial<OpenMark>;
    if (typeof mark.owner === 'string') return { owner: mark.owner, processId: typeof mark.processId === 'number' ? mark.processId : null };
  } catch {
    // Falls through.
  }
  return { owner: '', processId: null };
}
