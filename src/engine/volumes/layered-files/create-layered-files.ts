import type { Log } from '../../../lib/log.ts';
import type { Confinement } from '../../confinement/run-confined.ts';
import type { VolumeBackend } from '../contract.ts';

export interface LayeredFilesOptions {
  /** Holds one folder for each home. */
  readonly root: string;
  /** For sockets: short, private, and emptied by a reboot. */
  readonly runtimeDir: string;
  readonly log: Log;
  /** Free space that is kept back: at or below it new layers are refused. */
  readonly reserveBytes: number;
  readonly confinement: Confinement;
}

export declare function createLayeredFiles(options: LayeredFilesOptions): VolumeBackend;
