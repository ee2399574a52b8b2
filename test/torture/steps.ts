/**
 * What a history is made of: plain data that can be printed, shortened and run again. Things have names (`v1`, `s2`, `i3`, `b4`); a step whose
 * thing is not there (any more, or because the step that made it was left out) does nothing.
 */
export interface WritePlan {
  /** Which write of the history it is: in the bytes, so that they tell where they come from. */
  readonly n: number;
  readonly how: 'data' | 'durable' | 'zero' | 'punch' | 'trim' | 'flush';
  readonly at: number;
  readonly length: number;
}

export type SimpleStep =
  | { readonly op: 'create'; readonly as: string; readonly sizeBytes: number; readonly from?: string }
  | { readonly op: 'image'; readonly as: string; readonly sizeBytes: number; readonly writes: readonly WritePlan[] }
  | { readonly op: 'connect'; readonly volume: string; readonly attached: boolean }
  | { readonly op: 'disconnect'; readonly volume: string }
  | { readonly op: 'write'; readonly volume: string; readonly writes: readonly WritePlan[] }
  | { readonly op: 'snapshot'; readonly volume: string; readonly as: string; readonly meanwhile: readonly WritePlan[] }
  /** Of one moment, made while the clients of all of them write. */
  | {
      readonly op: 'snapshot-together';
      readonly parts: readonly { readonly volume: string; readonly as: string }[];
      readonly meanwhile: readonly WritePlan[];
    }
  | { readonly op: 'revert'; readonly volume: string; readonly to: string }
  | { readonly op: 'extend'; readonly volume: string; readonly sizeBytes: number }
  | { readonly op: 'delete'; readonly what: string }
  | { readonly op: 'cascade'; readonly volume: string }
  | {
      readonly op: 'backup';
      readonly of: string;
      readonly as: string;
      readonly incremental: boolean;
      readonly meanwhile: readonly WritePlan[];
    }
  | { readonly op: 'restore'; readonly from: string; readonly as: string; readonly sizeBytes: number }
  /** `whole`: a new base is written, as where the disk cannot be read; else an overlay of what differs. */
  | { readonly op: 'restore-in-place'; readonly from: string; readonly volume: string; readonly whole: boolean }
  | { readonly op: 'tidy' };

export type Step =
  | SimpleStep
  | { readonly op: 'restart' }
  | { readonly op: 'check' }
  | { readonly op: 'together'; readonly steps: readonly SimpleStep[] }
  | { readonly op: 'cancel'; readonly afterMs: number; readonly steps: readonly SimpleStep[] }
  | {
      readonly op: 'kill-service';
      /** At the marked instant, or after the time. */
      readonly at?: { readonly point: string; readonly hits: number };
      readonly afterMs: number;
      /** What was interrupted is taken up again; else it is undone, as a saga that was cancelled meanwhile. */
      readonly resume: boolean;
      readonly steps: readonly SimpleStep[];
    }
  | { readonly op: 'kill-daemon'; readonly volume: string; readonly afterMs: number; readonly steps: readonly SimpleStep[] }
  | { readonly op: 'kill-mover'; readonly afterMs: number; readonly steps: readonly SimpleStep[] };

/** The names that a step is alone with: two steps that run together share none. */
export function namesOf(step: SimpleStep): string[] {
  switch (step.op) {
    case 'create':
      return step.from === undefined ? [step.as] : [step.as, step.from];
    case 'image':
      return [step.as];
    case 'connect':
    case 'disconnect':
    case 'write':
    case 'extend':
    case 'cascade':
      return [step.volume];
    case 'snapshot':
      return [step.volume, step.as];
    case 'snapshot-together':
      return step.parts.flatMap(({ volume, as }) => [volume, as]);
    case 'revert':
      return [step.volume, step.to];
    case 'delete':
      return [step.what];
    case 'backup':
      return [step.of, step.as];
    case 'restore':
      return [step.from, step.as];
    case 'restore-in-place':
      return [step.from, step.volume];
    case 'tidy':
      return ['tidy'];
  }
}

const span = (at: number, length: number): string => `${at}+${length}`;
const writesText = (writes: readonly WritePlan[]): string =>
  writes.map(({ n, how, at, length }) => (how === 'flush' ? 'flush' : `${how}#${n}@${span(at, length)}`)).join(' ');

/** A line for people. */
export function stepText(step: Step): string {
  const { op, ...rest } = step as { op: string } & Record<string, unknown>;
  const parts = Object.entries(rest).map(([name, value]) => {
    if (name === 'writes' || name === 'meanwhile') return `${name}=[${writesText(value as WritePlan[])}]`;
    if (name === 'steps') return `{ ${(value as SimpleStep[]).map(stepText).join('; ')} }`;
    return `${name}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`;
  });
  return [op, ...parts].join(' ');
}
