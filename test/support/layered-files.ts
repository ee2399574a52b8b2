/** Layered files in a folder of their own, for tests of the backend itself. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createConfinement } from '../../src/engine/confinement/run-confined.ts';
import { createSpaceAccount } from '../../src/engine/space/space-account.ts';
import type { VolumeBackend } from '../../src/engine/volumes/contract.ts';
import type { BackendUnderTest } from '../../src/engine/volumes/contract-suite/test-disks.ts';
import { createLayeredFiles, type LayeredFilesOptions } from '../../src/engine/volumes/layered-files/create-layered-files.ts';
import { silentLog } from '../../src/lib/log.ts';
import { waitForEnd } from '../../src/lib/processes.ts';

export interface LayeredFilesUnderTest extends BackendUnderTest {
  readonly dir: string;
  another(changed?: Partial<LayeredFilesOptions>): VolumeBackend;
}

const killTimeoutMs = 5000;

export async function makeLayeredFiles(
  overrides: Partial<LayeredFilesOptions> = {},
  dir = mkdtempSync(join(tmpdir(), 'lf-')),
): Promise<LayeredFilesUnderTest> {
  const make = (changed: Partial<LayeredFilesOptions> = {}): VolumeBackend =>
    createLayeredFiles({
      root: join(dir, 'layers'),
      runtimeDir: join(dir, 'run'),
      log: silentLog,
      space: createSpaceAccount({ keptBytes: 0 }),
      confinement: createConfinement(),
      ...overrides,
      ...changed,
    });
  return {
    backend: make(),
    another: make,
    dir,
    async kill({ processId, id }) {
      process.kill(processId, 'SIGKILL');
      if (!(await waitForEnd(processId, id, killTimeoutMs))) throw new Error(`process ${processId} does not end`);
    },
    dispose: async () => rmSync(dir, { recursive: true, force: true }),
  };
}
