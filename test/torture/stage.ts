/** What a history is played on: the disks alone, or the whole service. */
import type { Counts } from './counts.ts';
import type { VolumeModel } from './model.ts';
import type { SimpleStep } from './steps.ts';

export interface Operation {
  readonly step: SimpleStep;
  /** In order; one that was interrupted may be run again. */
  readonly parts: readonly ((signal: AbortSignal) => Promise<unknown>)[];
  at: number;
  /** Runs beside the parts from the beginning, whatever becomes of them. */
  readonly beside: Promise<void> | undefined;
  /** The model's part, once all parts are done. */
  done(): Promise<void> | void;
  /** The work was interrupted, by a death or on demand, and is not taken up again: the model follows what became of it. */
  giveUp(): Promise<void>;
}

/** An operation as those who make one describe it. */
export type Made = Omit<Operation, 'step' | 'at' | 'beside'> & { readonly beside?: Promise<void> };

export interface Stage {
  readonly counts: Counts;
  readonly volumes: ReadonlyMap<string, VolumeModel>;
  /** Undefined: what the step is about is not there. */
  begin(step: SimpleStep): Promise<Made | undefined>;
  /** Compares all there is with the model. `everything`: also what was compared before and cannot have changed. */
  check(options: { everything: boolean }): Promise<void>;
  /** Deletes everything there is, looks at what is left, and ends in good order. */
  clear(): Promise<void>;
  restart(): Promise<void>;
  /** From now on the process under test is killed at the marked instant. */
  arm(at: { readonly point: string; readonly hits: number }): Promise<void>;
  /** The instant did not come. */
  disarm(): Promise<void>;
  kill(): Promise<void>;
  /** Whether the process under test is dead; waits for that as long as instants may come late. */
  diesSoon(): Promise<boolean>;
  isDead(): boolean;
  /** Starts it again after its death. */
  revive(): Promise<void>;
  /** Whether an operation failed with this because the process died. */
  isDeath(error: unknown): boolean;
  isCancellation(error: unknown): boolean;
  /** Interrupted operations are run again from the interrupted part; else the process itself takes them up, and they are looked at. */
  readonly canResume: boolean;
  /** The process that serves the volume's bytes now, if there is one. */
  serverOf(volume: VolumeModel): Promise<number | undefined>;
  killMover(): Promise<boolean>;
  /** What was logged, for whoever reads of a failure. */
  lastWords(): Promise<string>;
  /** Ends everything and leaves nothing behind, whatever state it is in. */
  end(): Promise<void>;
}
