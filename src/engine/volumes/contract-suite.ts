/**
 * What every volume backend must do, as tests. A backend's own test file calls `describeVolumeBackend` with a way to make one, and tests beside
 * it what only that backend does.
 */
import { describe } from 'vitest';
import { describeExports } from './contract-suite/exports.ts';
import { describeHistories } from './contract-suite/history.ts';
import { describeLayers } from './contract-suite/layers.ts';
import { describeLiveMerges } from './contract-suite/live-merges.ts';
import { describeMerging } from './contract-suite/merging.ts';
import { describeSpace } from './contract-suite/space.ts';
import type { MakeBackend } from './contract-suite/test-disks.ts';
import { describeWritePauses } from './contract-suite/write-pauses.ts';
import { describeWrittenLayers } from './contract-suite/written-layers.ts';

export function describeVolumeBackend(name: string, makeBackend: MakeBackend): void {
  describe(`${name} as a volume backend`, () => {
    describeLayers(makeBackend);
    describeWrittenLayers(makeBackend);
    describeMerging(makeBackend);
    describeExports(makeBackend);
    describeWritePauses(makeBackend);
    describeLiveMerges(makeBackend);
    describeSpace(makeBackend);
    describeHistories(makeBackend);
  });
}
