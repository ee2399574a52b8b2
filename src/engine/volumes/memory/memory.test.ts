import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../../lib/log.ts';
import type { BackendUnderTest, SpaceLimits } from '../contract-suite/test-disks.ts';
import { describeVolumeBackend } from '../contract-suite.ts';
import { createMemoryBackend } from './create-memory.ts';
import { createMemoryDisks } from './memory-disks.ts';
import { closeExport } from './memory-exports.ts';

async function makeMemory({ keptBytes }: SpaceLimits): Promise<BackendUnderTest> {
  const scratchDir = mkdtempSync(join(tmpdir(), 'mv-'));
  const disks = createMemoryDisks({ scratchDir, keptBytes });
  const make = () => createMemoryBackend({ disks, log: silentLog });
  return {
    backend: make(),
    another: make,
    // A server of this process cannot die alone. It goes without the backend being asked.
    kill: (target) => closeExport(disks, target),
    dispose: async () => rmSync(scratchDir, { recursive: true, force: true }),
  };
}

describeVolumeBackend('memory', makeMemory);
