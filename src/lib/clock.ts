/**
 * A moment in UTC with microseconds and no zone: `2026-11-21T03:00:00.123456`. Block Storage shows six digits, which a JavaScript
 * `Date` cannot hold, so moments travel as text. Texts of this form sort by time.
 */
export type Timestamp = string;

/** The only place that reads the wall clock. Durations are measured elsewhere, on the monotonic clock. */
export interface Clock {
  now(): Date;
  nowText(): Timestamp;
}

export function timestampOf(date: Date): Timestamp {
  return date.toISOString().replace('Z', '000');
}

export function dateOf(timestamp: Timestamp): Date {
  return new Date(`${timestamp.slice(0, 23)}Z`);
}

export const systemClock: Clock = {
  now: () => new Date(),
  nowText: () => timestampOf(new Date()),
};
