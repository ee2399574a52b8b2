import { describe, expect, it } from 'vitest';
import type { CliInvocation, CliStream } from './command.ts';
import { createProgressLine, formatBytes, formatDuration, printRecord, printTable } from './output.ts';

function recorded(format: 'table' | 'json', color = false) {
  const lines: string[] = [];
  const invocation: CliInvocation = {
    values: {},
    positionals: [],
    format,
    color,
    out: (text) => lines.push(text),
    err: () => {},
    stderr: { isTTY: false, columns: 80, write: () => {} },
    signal: AbortSignal.abort(),
    environment: {},
    stateDir: '/nowhere',
    cloud: undefined,
  };
  return { invocation, lines };
}

function stream(isTTY: boolean): CliStream & { readonly written: string[] } {
  const written: string[] = [];
  return { isTTY, columns: 60, write: (text) => written.push(text), written };
}

describe('tables', () => {
  it('align their columns and end without blanks', () => {
    const { invocation, lines } = recorded('table');
    printTable(
      invocation,
      ['name', 'size'],
      [
        { name: 'a', size: 1 },
        { name: 'longer', size: null },
      ],
    );
    expect(lines).toEqual(['name    size', 'a       1', 'longer']);
  });

  it('are arrays of objects in JSON, with null for what is not there', () => {
    const { invocation, lines } = recorded('json');
    printTable(invocation, ['name', 'size'], [{ name: 'a', size: undefined }]);
    expect(JSON.parse(lines.join('\n'))).toEqual([{ name: 'a', size: null }]);
  });

  it('do not let a name drive the terminal', () => {
    const { invocation, lines } = recorded('table');
    printTable(invocation, ['name'], [{ name: '\u001b[31mred\u001b[0m\u0007\nnext' }]);
    expect(lines[1]).toBe('red  next');
  });
});

it('shows a record with one field to a line', () => {
  const { invocation, lines } = recorded('table');
  printRecord(invocation, { id: 'x', is_incremental: false, tags: ['a'] });
  expect(lines).toEqual(['id              x', 'is_incremental  false', 'tags            ["a"]']);
});

it('is bold only where colour is wanted', () => {
  const { invocation, lines } = recorded('table', true);
  printRecord(invocation, { id: 'x' });
  expect(lines[0]).toContain('\u001b[1m');
});

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.00 KiB'],
  [1536 * 1024, '1.50 MiB'],
  [250 * 1024 ** 3, '250 GiB'],
])('writes %i bytes as %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

it.each([
  [0, '0:00'],
  [61, '1:01'],
  [3_723, '1:02:03'],
])('writes %i seconds as %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

describe('the progress line', () => {
  const mib = 2 ** 20;

  it('shows bytes, rate and the time left, and clears itself', () => {
    const terminal = stream(true);
    let nowMs = 0;
    const line = createProgressLine(terminal, 'backup', () => nowMs);
    line.update({ doneBytes: 0, totalBytes: 100 * mib });
    nowMs = 2_000;
    line.update({ doneBytes: 50 * mib, totalBytes: 100 * mib });
    line.finish();
    expect(terminal.written[1]).toBe('\rbackup  50.0 MiB / 100 MiB  50 %  25.0 MiB/s  ETA 0:02\u001b[K');
    expect(terminal.written.at(-1)).toBe('\r\u001b[K');
  });

  it('writes ten times a second at most', () => {
    const terminal = stream(true);
    let nowMs = 0;
    const line = createProgressLine(terminal, 'backup', () => nowMs);
    for (nowMs = 0; nowMs < 1_000; nowMs += 10) line.update({ doneBytes: nowMs, totalBytes: 1_000 });
    expect(terminal.written).toHaveLength(10);
  });

  it('never breaks into a second line', () => {
    const terminal = stream(true);
    createProgressLine(terminal, 'x'.repeat(200), () => 0).update({ doneBytes: 1, totalBytes: 2 });
    expect(terminal.written[0]).toBe(`\r${'x'.repeat(59)}\u001b[K`);
  });

  it('is a plain line every few seconds where there is no terminal', () => {
    const log = stream(false);
    let nowMs = 0;
    const line = createProgressLine(log, 'backup', () => nowMs);
    for (nowMs = 0; nowMs <= 11_000; nowMs += 500) line.update({ doneBytes: nowMs, totalBytes: 20_000 });
    line.finish();
    expect(log.written).toHaveLength(2);
    expect(log.written[1]).toMatch(/^backup {2}9\.77 KiB \/ 19\.5 KiB {2}50 % {2}.*\n$/);
  });

  it('forgets a slow beginning', () => {
    const terminal = stream(true);
    let nowMs = 0;
    const line = createProgressLine(terminal, 'b', () => nowMs);
    for (nowMs = 0; nowMs <= 60_000; nowMs += 1_000) line.update({ doneBytes: 0, totalBytes: 1_000 * mib });
    for (; nowMs <= 80_000; nowMs += 1_000) line.update({ doneBytes: (nowMs - 60_000) * 1_024, totalBytes: 1_000 * mib });
    expect(terminal.written.at(-1)).toContain('1000 KiB/s');
  });
});
