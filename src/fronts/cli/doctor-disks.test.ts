import { expect, it } from 'vitest';
import { type DiskFinding, type DiskReport, reportLines } from './doctor-disks.ts';

const finding: DiskFinding = {
  kind: 'layer-missing',
  subject: 'l',
  severity: 'error',
  detail: 'The file is gone.',
  advice: 'Put it back.',
  commands: ['mv a b'],
  affected: [],
  done: null,
  repaired: false,
};
const report = (findings: readonly Partial<DiskFinding>[], more: Partial<DiskReport> = {}): DiskReport => ({
  took_ms: 1234,
  looked: { layer_rows: 3, layer_files: 1, servers: 2, deep_layers: 0 },
  findings: findings.map((one) => ({ ...finding, ...one })),
  unlisted: 0,
  trash: { count: 0, bytes: 0 },
  ...more,
});
const shown = (of: DiskReport, options = { color: false, repair: false }) => reportLines(of, options);

it('says that nothing is wrong, and what it looked at', () => {
  expect(shown(report([]))).toEqual(['Looked at 1 layer, and at 2 servers, in 1.2 s.', '', 'Nothing is wrong.']);
});

it('says what is wrong, whom it concerns, and what to type', () => {
  const lines = shown(
    report([
      {
        affected: [
          { type: 'volume', id: 'v1', name: 'db' },
          { type: 'snapshot', id: 's1', name: null },
        ],
      },
    ]),
  );
  expect(lines.slice(2, -3)).toEqual([
    'ERROR  layer-missing',
    '  what    The file is gone.',
    '  affects volume db (v1)',
    '          snapshot s1',
    '  do      Put it back.',
    '            mv a b',
  ]);
  expect(lines.slice(-2)).toEqual([
    '1 thing wrong, data in danger in one of them.',
    'What is safe to repair: stillpoint doctor --disks --repair (moves files to the trash, deletes nothing).',
  ]);
});

it('says what was done, and no longer what to do', () => {
  const lines = shown(
    report([{ severity: 'warning', done: 'Moved to the trash.', repaired: true }], { trash: { count: 1, bytes: 2048 } }),
    {
      color: false,
      repair: true,
    },
  );
  expect(lines.slice(2)).toEqual([
    'REPAIRED  layer-missing',
    '  what    The file is gone.',
    '  done    Moved to the trash.',
    '',
    'The trash holds 1 item (2.00 KiB).',
    '',
    'Nothing is wrong. 1 thing repaired.',
  ]);
});

it('breaks long texts between words, and commands never', () => {
  const command = `mv ${'x'.repeat(150)} ${'y'.repeat(150)}`;
  const lines = shown(report([{ severity: 'warning', advice: 'word '.repeat(50).trim(), commands: [command] }]));
  expect(lines).toContain(`            ${command}`);
  expect(lines.filter((line) => line.includes('word')).length).toBeGreaterThan(1);
  expect(lines.filter((line) => line.includes('word')).every((line) => line.length <= 110)).toBe(true);
  expect(lines.at(-2)).toBe('1 thing wrong, no data in danger.');
});

it('cuts long lists short and says how much is left', () => {
  const affected = Array.from({ length: 14 }, (_, index) => ({ type: 'volume', id: `v${index}`, name: null }));
  const lines = shown(report([{ affected }], { unlisted: 3 }));
  expect(lines.filter((line) => /volume v\d/.test(line))).toHaveLength(10);
  expect(lines).toContain('          and 4 more');
  expect(lines).toContain('… and 3 more of the same kinds.');
});

it('shows no control characters that a name may hold', () => {
  const lines = shown(report([{ affected: [{ type: 'volume', id: 'v1', name: 'a\u001b[31mb\nc' }] }]));
  expect(lines.join('\n')).not.toContain('\u001b');
  expect(lines).toContain('  affects volume ab c (v1)');
});
