/** Shortens a failing history: leaves out what is not needed for it to fail, in ever smaller pieces. */
import type { SimpleStep, Step, WritePlan } from './steps.ts';

export interface ShrinkOptions {
  /** Whether a history still fails. */
  readonly fails: (steps: readonly Step[]) => Promise<boolean>;
  readonly deadlineMs: number;
}

export async function shrink(history: readonly Step[], { fails, deadlineMs }: ShrinkOptions): Promise<readonly Step[]> {
  let steps = history;
  const isOver = (): boolean => performance.now() > deadlineMs;
  const attempt = async (candidate: readonly Step[]): Promise<boolean> => {
    if (isOver() || !(await fails(candidate))) return false;
    steps = candidate;
    return true;
  };
  for (let before = Number.POSITIVE_INFINITY; sizeOf(steps) < before && !isOver(); ) {
    before = sizeOf(steps);
    for (let piece = Math.ceil(steps.length / 2); piece >= 1 && !isOver(); piece = piece === 1 ? 0 : Math.ceil(piece / 2)) {
      for (let at = steps.length - piece; at >= 0; at -= piece) await attempt([...steps.slice(0, at), ...steps.slice(at + piece)]);
    }
    for (let at = steps.length - 1; at >= 0; at -= 1) {
      for (const simpler of simplerForms(steps[at] as Step)) {
        if (await attempt([...steps.slice(0, at), ...simpler, ...steps.slice(at + 1)])) break;
      }
    }
  }
  return steps;
}

/** How much there is to read. */
const sizeOf = (steps: readonly Step[]): number =>
  steps.reduce((sum, step) => sum + 1 + writesOf(step).length + ('steps' in step ? 2 * sizeOf(step.steps) : 0), 0);

const writesOf = (step: Step): readonly WritePlan[] => ('writes' in step ? step.writes : 'meanwhile' in step ? step.meanwhile : []);

function* simplerForms(step: Step): Generator<readonly Step[]> {
  if ('steps' in step) {
    if (step.op === 'together') yield step.steps;
    for (const [index] of step.steps.entries()) yield [{ ...step, steps: step.steps.filter((_, other) => other !== index) }];
    for (const [index, inner] of step.steps.entries()) {
      for (const writes of fewerWrites(writesOf(inner))) {
        const simpler = { ...inner, ...('writes' in inner ? { writes } : { meanwhile: writes }) } as SimpleStep;
        yield [{ ...step, steps: step.steps.with(index, simpler) }];
      }
    }
    return;
  }
  for (const writes of fewerWrites(writesOf(step))) {
    yield [{ ...step, ...('writes' in step ? { writes } : { meanwhile: writes }) } as Step];
  }
}

function* fewerWrites(writes: readonly WritePlan[]): Generator<readonly WritePlan[]> {
  if (writes.length === 0) return;
  if (writes.length > 2) {
    yield writes.slice(0, writes.length / 2);
    yield writes.slice(writes.length / 2);
  }
  for (const [index] of writes.entries()) yield writes.filter((_, other) => other !== index);
}
