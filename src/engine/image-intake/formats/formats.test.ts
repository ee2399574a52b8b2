/** Files of other formats than qcow2: those that real tools write pass and convert to the same disk; those that reach outside are refused. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createConfinement } from '../../confinement/run-confined.ts';
import { convertToRaw } from '../convert.ts';
import type { DiskKind } from '../disk-kind.ts';
import { inspectImage } from '../inspect.ts';

const mib = 1024 * 1024;
const diskBytes = 32 * mib;
let folder: string;
let image: string;
let raw: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stillpoint-formats-'));
  image = join(folder, 'image');
  raw = join(folder, 'disk.raw');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const signal = new AbortController().signal;
const inspect = (kind: DiskKind, virtualBytesMax = 2 ** 44) => inspectImage(image, kind, { virtualBytesMax, signal });
const tool = (program: string, ...args: string[]): string => execFileSync(program, args, { cwd: folder, stdio: 'pipe' }).toString();

/** A disk with data at its beginning, in its middle and at its end. */
function disk(): Buffer {
  const bytes = Buffer.alloc(diskBytes);
  bytes.fill('begin', 0, 200_000);
  bytes.fill('middle', 20 * mib, 21 * mib);
  bytes.fill('end', diskBytes - 5000);
  return bytes;
}

function make(format: string, options?: string): Buffer {
  const bytes = disk();
  writeFileSync(raw, bytes);
  tool('qemu-img', 'convert', '-f', 'raw', '-O', format, ...(options === undefined ? [] : ['-o', options]), raw, image);
  return bytes;
}

function poke(offset: number, bytes: Buffer | string): void {
  const file = openSync(image, 'r+');
  writeSync(file, Buffer.from(bytes), 0, bytes.length, offset);
  closeSync(file);
}

async function refusal(kind: DiskKind): Promise<string> {
  const error = await inspect(kind).then(
    () => undefined,
    (reason: unknown) => reason as Error & { kind: string },
  );
  expect(error?.kind).toBe('bad-request');
  return error?.message ?? '';
}

const known: readonly [DiskKind, string | undefined][] = [
  ['vmdk', 'subformat=monolithicSparse'],
  ['vmdk', 'subformat=streamOptimized'],
  ['vpc', 'subformat=dynamic'],
  ['vpc', 'subformat=dynamic,force_size=on'],
  ['vpc', 'subformat=fixed,force_size=on'],
  ['vhdx', undefined],
  ['vhdx', 'block_size=1M'],
  ['vdi', undefined],
  ['vdi', 'static=on'],
];

test.each(known)('%s (%s) passes, is measured as QEMU measures it, and converts to the same disk', async (kind, options) => {
  const bytes = make(kind, options);
  const measured = JSON.parse(tool('qemu-img', 'info', '--output=json', '-f', kind, image)) as { 'virtual-size': number };
  const facts = await inspect(kind);
  expect(facts.virtualBytes).toBe(measured['virtual-size']);
  expect(facts.dataBytesMax).toBeLessThanOrEqual(facts.virtualBytes);
  expect(facts.dataBytesMax).toBeGreaterThanOrEqual(mib);

  const target = join(folder, 'target');
  const source = { path: image, format: kind as Exclude<DiskKind, 'iso'> };
  const extents = await convertToRaw(createConfinement(), { source, target, sizeBytes: facts.virtualBytes, signal });
  expect(extents.totalBytes).toBeLessThanOrEqual(facts.dataBytesMax ?? 0);
  expect(readFileSync(target).subarray(0, bytes.length).equals(bytes)).toBe(true);
});

test('a disk that is larger than allowed is refused in every format', async () => {
  for (const [kind, options] of known) {
    make(kind, options);
    await expect(inspect(kind, 16 * mib)).rejects.toThrow('larger than');
  }
});

test('a file that was cut short is refused', async () => {
  for (const [kind, options] of known) {
    make(kind, options);
    for (const length of [Math.floor(statSync(image).size / 2), 700, 100, 0]) {
      truncateSync(image, length);
      expect(await refusal(kind), `${kind} of ${length} bytes`).toMatch(/^Image data is not acceptable: /);
    }
  }
});

test('garbage is refused in every format that has a form', async () => {
  writeFileSync(image, Buffer.alloc(300_000, 'garbage'));
  for (const kind of ['qcow2', 'vmdk', 'vpc', 'vhdx', 'vdi', 'iso'] as const) await refusal(kind);
});

const flatDescriptor = (extent: string): string =>
  `# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n\n# Extent description\n${extent}\n`;

test('a vmdk descriptor with a flat extent is refused, however it is declared', async () => {
  for (const text of [flatDescriptor('RW 1 FLAT "/etc/passwd" 0'), 'version=1\nRW 1 FLAT "/etc/passwd" 0\n', '#\n \nversion=1\r\n']) {
    writeFileSync(image, text.padEnd(200_000, '\0'));
    for (const kind of ['vmdk', 'raw', 'iso'] as const) await refusal(kind);
  }
  for (const subformat of ['monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat']) {
    make('vmdk', `subformat=${subformat}`);
    await refusal('vmdk');
    await refusal('raw');
  }
});

/** What the descriptor of a sparse file says, changed. */
function redescribe(change: (text: string) => string): void {
  make('vmdk', 'subformat=monolithicSparse');
  const text = readFileSync(image)
    .subarray(512, 512 + 20 * 512)
    .toString('latin1')
    .replace(/\0+$/, '');
  poke(512, Buffer.alloc(20 * 512));
  poke(512, change(text));
}

test('a sparse vmdk whose descriptor names another file is refused', async () => {
  redescribe((text) => text);
  expect((await inspect('vmdk')).virtualBytes).toBe(diskBytes);
  const changes: [RegExp | string, string][] = [
    [/RW \d+ SPARSE "[^"]+"/, 'RW 1 FLAT "/etc/passwd" 0'],
    [/RW \d+ SPARSE "[^"]+"/, 'RW 65536 SPARSE "/etc/passwd"'],
    [/(RW \d+ SPARSE "[^"]+")/, '$1\nRW 1 FLAT "/etc/passwd" 0'],
    [/RW \d+ SPARSE "[^"]+"/, 'RW 1 VMFS "other-flat.vmdk"'],
    ['parentCID=ffffffff', 'parentCID=12345678\nparentFileNameHint="/etc/passwd"'],
    ['parentCID=ffffffff', 'parentCID=12345678'],
    ['monolithicSparse', 'monolithicFlat'],
    ['version=1', 'version=1\nchangeTrackPath="/etc/passwd"'],
    [/$/, '\0\0parentFileNameHint="/etc/passwd"'],
  ];
  for (const [from, to] of changes) {
    redescribe((text) => text.replace(from, to));
    await refusal('vmdk');
  }
});

test('a line of a descriptor that nobody writes is refused at once', async () => {
  // Long enough for a pattern that looks at each pair of spaces, let alone three.
  for (const spaces of [900, 9000]) {
    redescribe((text) => `${text}a=${' '.repeat(spaces)}"b"c\n`);
    expect(await refusal('vmdk')).toContain('its descriptor has a line that is');
  }
  redescribe((text) => `${text}ddb.comment = "with spaces"  \nddb.plain = 7\n`);
  expect((await inspect('vmdk')).virtualBytes).toBe(diskBytes);
});

test('a disk that is too large is refused before its tables are looked at', async () => {
  // What the tables say would be a refusal of its own.
  make('vmdk', 'subformat=monolithicSparse');
  poke(Number(readFileSync(image).readBigUInt64LE(56)) * 512, Buffer.from([255, 255, 255, 255]));
  expect(await refusal('vmdk')).toContain('cut short');
  await expect(inspect('vmdk', 16 * mib)).rejects.toThrow('larger than');
  make('vmdk', 'subformat=monolithicSparse');
  // With the smallest grains, more tables than QEMU opens.
  const header = Buffer.alloc(16);
  header.writeBigUInt64LE(2n ** 38n, 0);
  header.writeBigUInt64LE(8n, 8);
  poke(12, header);
  await expect(inspect('vmdk', 2 ** 50)).rejects.toThrow('directory is too large');
});

test('files whose end is a matter of rounding are refused', async () => {
  for (const [kind, options] of known.filter(([one]) => one === 'vmdk' || one === 'vpc')) {
    make(kind, options);
    truncateSync(image, statSync(image).size + 100);
    expect(await refusal(kind), options).toContain('no multiple of 512');
  }
});

test('a sparse vmdk without a capacity is refused: its descriptor alone would count', async () => {
  redescribe((text) => text.replace(/RW \d+ SPARSE "[^"]+"/, 'RW 1 FLAT "/etc/passwd" 0'));
  poke(12, Buffer.alloc(8));
  expect(await refusal('vmdk')).toContain('capacity');
});

test('a footer that contradicts the header is refused, one that agrees passes', async () => {
  make('vmdk', 'subformat=streamOptimized');
  const whole = readFileSync(image);
  const directory = whole.readBigUInt64LE(56);
  const footer = Buffer.from(whole.subarray(0, 512));
  const marker = Buffer.alloc(512);
  marker.writeUInt32LE(3, 12);
  const atEnd = Buffer.from(whole);
  atEnd.writeBigUInt64LE(2n ** 64n - 1n, 56);
  footer.writeBigUInt64LE(directory, 56);
  writeFileSync(image, Buffer.concat([atEnd, marker, footer, Buffer.alloc(512)]));
  expect((await inspect('vmdk')).virtualBytes).toBe(diskBytes);
  footer.writeBigUInt64LE(0n, 12);
  writeFileSync(image, Buffer.concat([atEnd, marker, footer, Buffer.alloc(512)]));
  await refusal('vmdk');
});

test('differencing vhd files are refused', async () => {
  make('vpc', 'subformat=dynamic');
  poke(60, Buffer.from([0, 0, 0, 4]));
  expect(await refusal('vpc')).toContain('parent');
  make('vpc', 'subformat=dynamic');
  poke(512 + 576, 'W2ku');
  expect(await refusal('vpc')).toContain('parent');
});

test('a vhdx file with a parent, or with a log to play back, is refused', async () => {
  make('vhdx');
  const whole = readFileSync(image);
  const metadata = whole.indexOf('metadata');
  // Where the first item lies, which QEMU makes the file parameters.
  const parameters = metadata + whole.readUInt32LE(metadata + 48);
  poke(parameters + 4, Buffer.from([2, 0, 0, 0]));
  expect(await refusal('vhdx')).toContain('parent');
  make('vhdx');
  for (const header of [64, 128]) poke(header * 1024 + 48, Buffer.alloc(16, 1));
  expect(await refusal('vhdx')).toContain('log');
  make('vhdx');
  // The first item's name becomes that of a parent locator.
  poke(metadata + 32, Buffer.from('2d5fd3a80bb34d45abf7d3d84834ab0c', 'hex'));
  expect(await refusal('vhdx')).toMatch(/parent/);
});

test('vdi files with a parent are refused', async () => {
  make('vdi');
  poke(0x1b8, Buffer.alloc(16, 7));
  expect(await refusal('vdi')).toContain('parent');
  make('vdi');
  poke(0x4c, Buffer.from([4, 0, 0, 0]));
  expect(await refusal('vdi')).toContain('parent');
});

test('bytes that are declared raw are refused when they look like a format that opens further files', async () => {
  const makers: readonly [string, string | undefined][] = [['qcow2', undefined], ['qcow', undefined], ['qed', undefined], ...known];
  for (const [format, options] of makers) {
    // A fixed vhd file is a raw disk with a footer: nothing guesses it.
    if (options?.startsWith('subformat=fixed') === true) continue;
    make(format, options);
    expect(await refusal('raw'), format).toContain('declared as raw');
  }
  writeFileSync(image, disk());
  expect(await inspect('raw')).toEqual({ virtualBytes: diskBytes });
});

/** The least that is recognised as a file system of a CD. */
function iso(): Buffer {
  const bytes = Buffer.alloc(mib);
  bytes.write('\x01CD001\x01', 32 * 1024, 'latin1');
  return bytes;
}

test('an ISO file is one, and nothing else besides', async () => {
  writeFileSync(image, iso());
  expect(await inspect('iso')).toEqual({ virtualBytes: mib });
  expect(await inspect('raw')).toEqual({ virtualBytes: mib });
  for (const beginning of ['QFI\xfb\0\0\0\x03', 'KDMV', 'vhdxfile', 'conectix', 'version=1\n']) {
    writeFileSync(image, iso());
    poke(0, Buffer.from(beginning, 'latin1'));
    for (const kind of ['iso', 'raw', 'qcow2', 'vmdk', 'vpc', 'vhdx'] as const) await refusal(kind);
  }
  writeFileSync(image, Buffer.alloc(mib));
  expect(await refusal('iso')).toContain('no ISO 9660');
});

test('a qcow2 file with a data file is refused, whatever its name looks like', async () => {
  for (const name of ['/etc/passwd', 'json:{"driver":"file","filename":"/etc/passwd"}']) {
    tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `data_file=${join(folder, 'data')}`, image, '1M');
    const whole = readFileSync(image);
    const at = whole.indexOf(Buffer.from('44415441', 'hex'));
    poke(at + 4, Buffer.from([0, 0, 0, name.length]));
    // No further extensions behind it.
    poke(at + 8, Buffer.concat([Buffer.from(name), Buffer.alloc(16)]));
    expect(await refusal('qcow2')).toContain('another file');
    await refusal('raw');
    // The name without the feature bit.
    poke(72, Buffer.alloc(8));
    await refusal('qcow2');
  }
});

test('a qcow2 file with a backing file of any name is refused', async () => {
  for (const name of ['/etc/passwd', 'json:{"file.filename":"/etc/passwd"}', 'nbd://127.0.0.1:1/x', 'fat:rw:/etc']) {
    tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-b', name, '-F', 'raw', image, '1M');
    expect(await refusal('qcow2')).toContain('backing file');
  }
});
