import type { Throughput } from './api-throughput.ts';
import type { Growth } from './growth.ts';
import type { Latency } from './latencies.ts';
import { median, type Row } from './measure.ts';

export interface Report {
  readonly rows: readonly Row[];
  readonly memory: { readonly service: number; readonly mover: number };
  readonly latencies: readonly Latency[];
  readonly throughput: readonly Throughput[];
  readonly growth: readonly Growth[];
  readonly secondStartMs: number;
}

const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);

/** One table a work: min, median and max seconds, how many times our median, and what was stored. */
export function printTable({ rows, memory, latencies, throughput, growth, secondStartMs }: Report): void {
  const lines: string[] = ['', '| work | side | min s | median s | max s | × stillpoint | stored MB |', '|---|---|---|---|---|---|---|'];
  for (const { work, side, samples } of rows) {
    const seconds = samples.map((sample) => sample.seconds);
    const own = rows.find((row) => row.work === work && row.side === 'stillpoint');
    const ratio = own === undefined ? '' : (median(seconds) / median(own.samples.map((sample) => sample.seconds))).toFixed(1);
    const stored = samples.flatMap((sample) => (sample.stored === undefined ? [] : [sample.stored]));
    const figures = [Math.min(...seconds), median(seconds), Math.max(...seconds)].map((value) => value.toFixed(2));
    lines.push(`| ${[work, side, ...figures, ratio, stored.length === 0 ? '' : mb(median(stored))].join(' | ')} |`);
  }
  lines.push('', '| latency | count | median ms | p99 ms | max ms |', '|---|---|---|---|---|');
  for (const one of latencies) {
    lines.push(`| ${one.what} | ${one.count} | ${[one.medianMs, one.p99Ms, one.maxMs].map((value) => value.toFixed(1)).join(' | ')} |`);
  }
  lines.push('', '| requests | a second | median ms | p99 ms | max ms |', '|---|---|---|---|---|');
  for (const one of throughput) {
    const waits = [one.medianMs, one.p99Ms, one.maxMs].map((value) => value.toFixed(1));
    lines.push(`| ${one.what} | ${one.perSecond.toFixed(0)} | ${waits.join(' | ')} |`);
  }
  lines.push('', '| incremental of 16 MiB changed on a volume of | median s |', '|---|---|');
  for (const { sizeGib, seconds } of growth) lines.push(`| ${sizeGib} GiB | ${seconds.toFixed(3)} |`);
  lines.push(
    '',
    `peak memory: service ${mb(memory.service)} MB, data mover ${mb(memory.mover)} MB`,
    `second start: ${secondStartMs.toFixed(0)} ms`,
    '',
  );
  process.stdout.write(lines.join('\n'));
}
