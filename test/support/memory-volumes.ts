/** Volumes in memory, for tests of the backend itself. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackendUnderTest } from '../../src/engine/volumes/contract-suite/test-disks.ts';
import { createMemoryBackend } from '../../src/engine/volumes/memory/create-memory.ts';
import { createMemoryDisks, type MemoryDisks, type MemoryDisksOptions } from '../../src/engine/volumes/memory/memory-disks.ts';
import { closeExport } from '../../src/engine/volumes/memory/memory-exports.ts';
import { silentLog } from '../../src/lib/log.ts';

export interface MemoryVolumesUnderTest extends BackendUnderTest {
  readonly disks: MemoryDisks;
}

export async function makeMemoryVolumes(options: Omit<MemoryDisksOptions, 'scratchDir'> = {}): Promise<MemoryVolumesUnderTest> {
  const scratchDir = mkdtempSync(join(tmpdir(), 'mv-'));
  const disks = createMemoryDisks({ ...options, scratchDir });
  const make = () => createMemoryBackend({ disks, log: silentLog });
  return {
    disks,
    backend: make(),
    another: make,
    // A server of this process cannot die alone. It goes without the backend being asked.
    kill: (target) => closeExport(disks, target),
    dispose: async () => rmSync(scratchDir, { recursive: true, force: true }),
  };
}
