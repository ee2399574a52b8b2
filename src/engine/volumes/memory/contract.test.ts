import { makeMemoryVolumes } from '../../../../test/support/memory-volumes.ts';
import { describeVolumeBackend } from '../contract-suite.ts';

describeVolumeBackend('memory', makeMemoryVolumes);
