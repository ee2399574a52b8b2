import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { layerChanges, layerContent } from './layer-content.ts';
import { openDisk } from './open-disk.ts';
import { Qcow2Error } from './qcow2-header.ts';

/** What our reader does not read, made by QEMU itself where it can: nobody gets bytes from such a file, only the reason. */
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'declined-disks-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const sizeBytes = 2 ** 20;
const qemu = (tool: string, ...args: string[]): string =>
  execFileSync(tool, args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const create = (name: string, ...args: string[]): void => void qemu('qemu-img', 'create', '-q', '-f', 'qcow2', ...args, name, '1M');
/** To encrypt, QEMU measures what a key costs, and gives up where the clock of a virtual machine shows no time at all. */
function whileClockIsCoarse(make: () => void): void {
  for (let attempts = 1; ; attempts += 1) {
    try {
      make();
      return;
    } catch (error) {
      if (attempts === 10 || !String(error).includes('Unable to get accurate CPU usage')) throw error;
    }
  }
}
const setBit = (name: string, at: number, bit: number): void => {
  const bytes = readFileSync(join(dir, name));
  bytes[at] = (bytes[at] as number) | bit;
  writeFileSync(join(dir, name), bytes);
};

const kinds: Readonly<Record<string, { readonly make: (name: string) => void; readonly reason: RegExp }>> = {
  'with internal snapshots': {
    make(name) {
      create(name);
      qemu('qemu-img', 'snapshot', '-c', 'one', name);
    },
    reason: /^unsupported: .*internal snapshots/,
  },
  'that a killed writer left with refcounts to repair': {
    make(name) {
      create(name, '-o', 'lazy_refcounts=on');
      const killed = spawnSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 64k', '-c', 'flush', '-c', 'sigraise 9', name], { cwd: dir });
      expect(killed.signal).toBe('SIGKILL');
    },
    reason: /^unsupported: .*not closed cleanly/,
  },
  'that was marked as corrupt': {
    make(name) {
      create(name);
      setBit(name, 79, 2);
    },
    reason: /^damaged: .*marked as corrupt/,
  },
  'with its data in another file': {
    make: (name) => create(name, '-o', `data_file=${name}.data`),
    reason: /^unsupported: .*data in another file/,
  },
  'with its data in another raw file': {
    make: (name) => create(name, '-o', `data_file=${name}.data,data_file_raw=on`),
    reason: /^unsupported: .*data in another file/,
  },
  'with LUKS': {
    make: (name) =>
      whileClockIsCoarse(() =>
        create(name, '--object', 'secret,id=key,data=secret', '-o', 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10'),
      ),
    reason: /^unsupported: .*encrypted/,
  },
  'with the old encryption': {
    make(name) {
      create(name);
      setBit(name, 35, 1);
    },
    reason: /^unsupported: .*encrypted/,
  },
  'that needs something unknown': {
    make(name) {
      create(name);
      setBit(name, 72, 0x80);
    },
    reason: /^unsupported: .*unknown features 63/,
  },
  'that ends inside a sector': {
    make(name) {
      create(name);
      setBit(name, 31, 1);
    },
    reason: /^unsupported: .*ends inside a sector/,
  },
};

async function refusal(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Qcow2Error) return `${error.problem}: ${error.message}`;
    throw error;
  }
  return 'none';
}

describe.each(Object.entries(kinds))('a layer %s', (what, { make, reason }) => {
  const name = `${what.replaceAll(' ', '-')}.qcow2`;
  const layer = (): { path: string; format: 'qcow2' } => ({ path: join(dir, name), format: 'qcow2' });
  beforeAll(() => make(name));

  it('is not read', async () => {
    expect(await refusal(() => openDisk({ layers: [{ ...layer(), sizeBytes }], sizeBytes }))).toMatch(reason);
  });

  it('is not read as a part of a chain', async () => {
    const top = join(dir, `top-of-${name}`);
    create(top);
    const chain = [
      { ...layer(), sizeBytes },
      { path: top, format: 'qcow2' as const, sizeBytes },
    ];
    expect(await refusal(() => openDisk({ layers: chain, sizeBytes }))).toMatch(reason);
  });

  it('does not pass for one without changes', async () => {
    expect(await refusal(() => layerChanges(layer()))).toMatch(reason);
    expect(await refusal(() => layerContent(layer()))).toMatch(reason);
  });
});

describe('what does not keep a file from being read', () => {
  it.each([
    ['bitmaps', (name: string) => void qemu('qemu-img', 'bitmap', '--add', '--enable', '-f', 'qcow2', name, 'changes')],
    [
      'lazy refcounts after a clean close',
      (name: string) => void qemu('qemu-img', 'amend', '-f', 'qcow2', '-o', 'lazy_refcounts=on', name),
    ],
  ])('are %s', (what, change) => {
    const name = `${what.replaceAll(' ', '-')}.qcow2`;
    create(name);
    change(name);
    qemu('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 64k 64k', name);
    const disk = openDisk({ layers: [{ path: join(dir, name), format: 'qcow2', sizeBytes }], sizeBytes });
    const bytes = Buffer.alloc(65_536);
    disk.readSync(bytes, 65_536);
    disk.close();
    expect(bytes.equals(Buffer.alloc(65_536, 7))).toBe(true);
  });
});
