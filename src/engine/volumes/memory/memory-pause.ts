/** Holding back what clients write to disks in memory. The servers are of this process, so that nobody can die and leave one held back. */
import type { DiskExport, WritePause } from '../contract.ts';
import { writePauseMsMax } from '../contract.ts';
import { VolumeBackendError } from '../errors.ts';
import type { MemoryDisks } from './memory-disks.ts';
import { needExport } from './memory-exports.ts';

export function pauseWrites(disks: MemoryDisks, targets: readonly DiskExport[], holdMs: number): WritePause {
  if (holdMs > writePauseMsMax) throw new RangeError(`writes cannot be held back for ${holdMs} ms`);
  const served = targets.map((target) => needExport(disks, target));
  if (served.some((open) => open.readOnly)) throw new VolumeBackendError('mismatch', 'a server that reads only has no writes to hold back');
  let isHolding = true;
  const resume = (): void => {
    isHolding = false;
    clearTimeout(timer);
    for (const { gate } of served) gate.open();
  };
  const timer = setTimeout(resume, holdMs);
  for (const { gate } of served) gate.close();
  return { holds: () => isHolding, resume: async () => resume() };
}

export function resumeWrites(disks: MemoryDisks, target: DiskExport): void {
  disks.exports.get(target.id)?.gate.open();
}
