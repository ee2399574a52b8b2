import { stripVTControlCharacters, styleText } from 'node:util';
import type { CliInvocation, CliStream } from './command.ts';

/** A cell as commands hand it over; tables show null and undefined as nothing. */
export type Cell = string | number | boolean | null | undefined;

/** Prints records under the given columns: aligned for people, an array of objects with `-f json`. */
export function printTable<Column extends string>(
  invocation: CliInvocation,
  columns: readonly Column[],
  rows: readonly Readonly<Record<Column, Cell>>[],
): void {
  if (invocation.format === 'json') {
    printJson(
      invocation,
      rows.map((row) => Object.fromEntries(columns.map((column) => [column, row[column] ?? null]))),
    );
    return;
  }
  const cells = rows.map((row) => columns.map((column) => shown(row[column])));
  const widths = columns.map((column, index) => Math.max(column.length, ...cells.map((row) => visibleLength(row[index] ?? ''))));
  const line = (values: readonly string[]) =>
    values
      .map((value, index) => padded(value, widths[index] ?? 0))
      .join('  ')
      .trimEnd();
  const heading = line(columns);
  invocation.out(invocation.color ? styleText('bold', heading, { validateStream: false }) : heading);
  for (const row of cells) invocation.out(line(row));
}

/** Prints one record: a line for each field for people, an object with `-f json`. */
export function printRecord(invocation: CliInvocation, record: Readonly<Record<string, unknown>>): void {
  if (invocation.format === 'json') {
    printJson(invocation, record);
    return;
  }
  const width = Math.max(0, ...Object.keys(record).map((key) => key.length));
  for (const [key, value] of Object.entries(record)) {
    const name = padded(key, width);
    const text = typeof value === 'object' && value !== null ? JSON.stringify(value) : shown(value as Cell);
    invocation.out(`${invocation.color ? styleText('bold', name, { validateStream: false }) : name}  ${text}`.trimEnd());
  }
}

export function printJson(invocation: CliInvocation, value: unknown): void {
  invocation.out(JSON.stringify(value, null, 2));
}

/** Names come from other users: a control character in one must not drive the reader's terminal. */
export const printable = (text: string): string => stripVTControlCharacters(text).replace(/\p{Cc}/gu, ' ');
const shown = (value: Cell): string => (value === null || value === undefined ? '' : printable(String(value)));
const visibleLength = (text: string): number => [...text].length;
const padded = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - visibleLength(text)));

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `1.5 GiB`: three digits are enough to read. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${byteUnits[unit]}`;
}

/** `1:02:03` or `2:03`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const tail = `${String(rest).padStart(2, '0')}`;
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${tail}` : `${minutes}:${tail}`;
}

export interface ProgressLine {
  /** May be called as often as wanted; the terminal is written ten times a second at most, a log every five seconds. */
  update(progress: { readonly doneBytes: number; readonly totalBytes: number; readonly step?: string }): void;
  /** Ends the line. Call it in `finally`, before the result is printed. */
  finish(): void;
}

const terminalPauseMs = 100;
const logPauseMs = 5_000;
/** The rate is measured over this much of the past, so that a slow beginning does not spoil the estimate for minutes. */
const rateWindowMs = 10_000;

/** A live line on a terminal (`label  1.2 GiB / 4.0 GiB  30 %  512 MiB/s  ETA 0:05`), or a plain line now and then elsewhere. */
export function createProgressLine(stream: CliStream, label: string, nowMs: () => number = () => performance.now()): ProgressLine {
  const samples: { readonly atMs: number; readonly doneBytes: number }[] = [];
  let writtenAtMs = stream.isTTY ? Number.NEGATIVE_INFINITY : nowMs();
  let open = false;

  const rateOf = (atMs: number, doneBytes: number): number => {
    samples.push({ atMs, doneBytes });
    while (samples.length > 2 && atMs - (samples[1]?.atMs ?? atMs) > rateWindowMs) samples.shift();
    const first = samples[0];
    if (first === undefined || atMs <= first.atMs) return 0;
    return Math.max(0, ((doneBytes - first.doneBytes) * 1000) / (atMs - first.atMs));
  };

  return {
    update({ doneBytes, totalBytes, step }) {
      const atMs = nowMs();
      if (atMs - writtenAtMs < (stream.isTTY ? terminalPauseMs : logPauseMs)) return;
      writtenAtMs = atMs;
      const text = progressText(label, doneBytes, totalBytes, rateOf(atMs, doneBytes), step);
      if (!stream.isTTY) {
        stream.write(`${text}\n`);
        return;
      }
      open = true;
      stream.write(`\r${text.slice(0, Math.max(20, stream.columns - 1))}\u001b[K`);
    },
    finish() {
      if (open) stream.write('\r\u001b[K');
      open = false;
    },
  };
}

function progressText(label: string, doneBytes: number, totalBytes: number, bytesPerSecond: number, step: string | undefined): string {
  const parts = [step === undefined ? label : `${label} (${step})`];
  if (totalBytes > 0) {
    const percent = Math.min(100, Math.floor((doneBytes * 100) / totalBytes));
    parts.push(`${formatBytes(doneBytes)} / ${formatBytes(totalBytes)}`, `${percent} %`);
  } else {
    parts.push(formatBytes(doneBytes));
  }
  if (bytesPerSecond > 0) {
    parts.push(`${formatBytes(bytesPerSecond)}/s`);
    if (totalBytes > doneBytes) parts.push(`ETA ${formatDuration((totalBytes - doneBytes) / bytesPerSecond)}`);
  }
  return parts.join('  ');
}
