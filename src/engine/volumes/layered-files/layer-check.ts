/**
 * Looks at all tables of a layer with `qemu-img check`, and repairs what is no loss: space that is counted as used and used by nobody. A damaged
 * layer is never repaired here. What QEMU would make of it is a guess, and the file as it is may be all that is left.
 */
import { lstat } from 'node:fs/promises';
import { ProcessError } from '../../../lib/processes.ts';
import type { Confinement } from '../../confinement/run-confined.ts';
import { VolumeBackendError } from '../errors.ts';
import type { LayerCheck, LayerInventory } from '../inventory-contract.ts';
import { asFileName, blockNode, workingDirOf } from './block-nodes.ts';
import type { LayerFile, LayerPaths } from './layer-paths.ts';
import { nameOf } from './offline-tools.ts';
import { isLocked, type OpenMarks } from './open-marks.ts';

export interface LayerCheckDeps {
  readonly paths: LayerPaths;
  readonly marks: OpenMarks;
  readonly confinement: Confinement;
}

/** What `qemu-img check --output=json` says, as far as we ask. */
interface CheckReport {
  readonly 'check-errors'?: number;
  readonly corruptions?: number;
  readonly leaks?: number;
}

/** `qemu-img check`: 2 = damaged, 3 = leaks. */
const answers = [0, 2, 3];
const checkTimeoutMs = 60 * 60 * 1000;
const clusterBytes = 65_536;

export function createLayerChecks({ paths, marks, confinement }: LayerCheckDeps): Pick<LayerInventory, 'checkLayer' | 'repairLayer'> {
  return {
    async checkLayer(name, { signal }) {
      const file = paths.fileOf(name);
      await requireThere(file);
      if (file.format === 'raw') return { damage: undefined, leakedBytes: 0 };
      if ((await marks.liveOwner(file)) !== undefined) throw new VolumeBackendError('busy', `${nameOf(file)} is being written`);
      return await check(confinement, file, signal);
    },
    async repairLayer(name) {
      const file = paths.fileOf(name);
      await requireThere(file);
      // Settling repairs what has a mark. Leaks without one come from a power cut that took the mark, or from outside.
      if ((await marks.ownerOf(file)) === undefined) await marks.set(file, { owner: '', processId: null });
      await marks.settle(file).catch((error: unknown) => {
        throw isLocked(error) ? new VolumeBackendError('busy', `${nameOf(file)} is open`, { cause: error }) : error;
      });
    },
  };
}

async function check(confinement: Confinement, file: LayerFile, signal: AbortSignal): Promise<LayerCheck> {
  try {
    const { stdout } = await confinement.run({
      command: 'qemu-img',
      args: ['check', '--output=json', asFileName(blockNode(file, { access: 'read-only', backing: null }))],
      readOnly: [file.path],
      workingDir: workingDirOf(file),
      timeoutMs: checkTimeoutMs,
      exitCodes: answers,
      signal,
    });
    const report = JSON.parse(stdout) as CheckReport;
    const [corruptions, errors] = [report.corruptions ?? 0, report['check-errors'] ?? 0];
    const damage =
      corruptions + errors > 0 ? `qemu-img check finds ${corruptions} damaged clusters and ${errors} it could not read` : undefined;
    return { damage, leakedBytes: (report.leaks ?? 0) * clusterBytes };
  } catch (error) {
    if (isLocked(error)) throw new VolumeBackendError('busy', `${nameOf(file)} is being written`, { cause: error });
    if (error instanceof ProcessError && error.failure === 'failed') return { damage: firstLine(error), leakedBytes: 0 };
    throw error;
  }
}

async function requireThere(file: LayerFile): Promise<void> {
  const stats = await lstat(file.path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  if (stats === undefined) throw new VolumeBackendError('missing-layer', `${nameOf(file)} does not exist`);
}

const firstLine = ({ result, message }: ProcessError): string => `qemu-img check fails: ${result?.stderr.trim().split('\n')[0] ?? message}`;
