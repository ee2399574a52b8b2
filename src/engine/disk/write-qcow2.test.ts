import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseQcow2Header } from './qcow2-header.ts';
import { writeEmptyQcow2 } from './write-qcow2.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'write-qcow2-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { encoding: 'utf8' });

describe('writeEmptyQcow2', () => {
  it.each([512, 2 ** 20, 2 ** 30, 3 * 2 ** 30 + 512, 2 ** 40, 2 ** 46])(
    'makes what qemu-img calls a healthy image of %d bytes',
    async (sizeBytes) => {
      const path = join(dir, `${sizeBytes}.qcow2`);
      await writeEmptyQcow2(path, { sizeBytes, backing: undefined });
      expect(JSON.parse(qemuImg('check', '--output=json', path))).toMatchObject({ 'check-errors': 0 });
      const info = JSON.parse(qemuImg('info', '--output=json', path)) as Record<string, unknown>;
      expect(info).toMatchObject({
        'virtual-size': sizeBytes,
        'cluster-size': 65_536,
        'format-specific': { data: { compat: '1.1', 'extended-l2': true, 'lazy-refcounts': false, corrupt: false } },
      });
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(parseQcow2Header(readFileSync(path), statSync(path).size)).toMatchObject({
        sizeBytes,
        hasExtendedL2: true,
        backingFile: undefined,
      });
    },
  );

  it('names its backing file so that qemu-img finds it', async () => {
    const base = join(dir, 'base.raw');
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', base, '1M']);
    execFileSync('qemu-io', ['-f', 'raw', '-c', 'write -P 7 0 1M', base]);
    const path = join(dir, 'overlay.qcow2');
    await writeEmptyQcow2(path, { sizeBytes: 2 ** 20, backing: { name: 'base.raw', format: 'raw' } });
    expect(JSON.parse(qemuImg('info', '--output=json', path))).toMatchObject({
      'backing-filename': 'base.raw',
      'backing-filename-format': 'raw',
    });
    expect(qemuImg('compare', path, base)).toContain('identical');
    expect(parseQcow2Header(readFileSync(path), statSync(path).size).backingFile).toMatchObject({ name: 'base.raw', format: 'raw' });
  });

  it('stays healthy when it is filled', async () => {
    const path = join(dir, 'filled.qcow2');
    await writeEmptyQcow2(path, { sizeBytes: 2 ** 36, backing: undefined });
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 9M', '-c', 'write -P 2 63G 5M', '-c', 'write -z 1G 1M', path]);
    expect(JSON.parse(qemuImg('check', '--output=json', path))).toMatchObject({ 'check-errors': 0 });
    expect(readFileSync(path).subarray(0, 4).toString('latin1')).toBe('QFI\xfb');
  });

  it('refuses sizes that no disk has', async () => {
    for (const sizeBytes of [0, -512, 100, 2 ** 47, Number.NaN]) {
      await expect(writeEmptyQcow2(join(dir, 'bad.qcow2'), { sizeBytes, backing: undefined })).rejects.toThrow(RangeError);
    }
  });
});
