import { describe, expect, it } from 'vitest';
import { machineArguments } from './command-line.ts';
import type { MachineSpec } from './contract.ts';
import { checkMachinePaths, machineFolderOf } from './machine-folder.ts';
import { machineIdOf } from './machine-process.ts';

const folder = machineFolderOf('/run/stillpoint', 'a');
const spec: MachineSpec = {
  id: 'a',
  uuid: '0b0e8a5c-5a07-4e6d-9d0c-0a1b2c3d4e5f',
  memoryMib: 128,
  vcpus: 2,
  disks: [],
  configDrivePath: null,
  kernel: null,
  hasAgent: false,
  network: { kind: 'none' },
  consolePath: '/srv/a,b',
};
const disk = {
  id: '4cf2a1de-5a07-4e6d-9d0c-0a1b2c3d4e5f',
  device: 'vda',
  socketPath: '/s',
  exportName: 'disk',
  readOnly: false,
  bootIndex: null,
};
const argumentsOf = (changed: Partial<MachineSpec>) => machineArguments({ ...spec, ...changed }, folder, { kind: 'kvm' });
const devicesOf = (changed: Partial<MachineSpec>) =>
  argumentsOf(changed).flatMap((argument, index, all) =>
    all[index - 1] === '-device' && argument.startsWith('{') ? [JSON.parse(argument) as Record<string, unknown>] : [],
  );

describe('the arguments of QEMU', () => {
  it('give each disk the slot of its name, and none to two devices', () => {
    const disks = [...'abcdefghijklmnopqrstuvwxyz'].map((letter) => ({ ...disk, id: `disk-${letter}`, device: `vd${letter}` }));
    const network = { kind: 'user', restricted: true, forwards: [] } as const;
    const slots = devicesOf({ disks, hasAgent: true, network }).flatMap(({ addr }) => (addr === undefined ? [] : [Number(addr)]));
    expect(slots.filter((slot) => slot >= 4 && slot <= 29)).toEqual(disks.map((_, index) => index + 4));
    expect(new Set(slots).size).toBe(slots.length);
    expect(Math.max(...slots)).toBe(31);
  });

  it('name a disk by its id, and order what to boot from behind a kernel that is given', () => {
    const [first, second] = devicesOf({
      disks: [
        { ...disk, bootIndex: 0 },
        { ...disk, id: 'b', device: 'vdb' },
      ],
    }).filter(({ driver }) => driver === 'virtio-blk-pci');
    expect(first).toMatchObject({ id: `disk-${disk.id}`, serial: '4cf2a1de-5a07-4e6d-9', bootindex: 1, werror: 'stop', rerror: 'stop' });
    expect(second).not.toHaveProperty('bootindex');
  });

  it('keep what is in paths out of the options around them', () => {
    expect(argumentsOf({})).toContain('file,id=console,path=/srv/a,,b,append=on');
  });

  it('tell whose they are', () => {
    expect(machineIdOf(argumentsOf({}))).toBe('a');
    expect(machineIdOf(['-name', 'guest=a'])).toBeUndefined();
    expect(machineIdOf([])).toBeUndefined();
  });

  it.each([{ id: 'a,b' }, { id: '' }, { id: '-x' }, { disks: [{ ...disk, device: 'vdaa' }] }, { disks: [{ ...disk, id: 'a b' }] }])(
    'are refused for %o',
    (changed) => {
      expect(() => argumentsOf(changed)).toThrow(RangeError);
    },
  );

  it('let the guest reach nobody, and be reached by ports of loopback', () => {
    const forwards = [{ hostPort: 2022, guestPort: 22 }];
    expect(argumentsOf({ network: { kind: 'user', restricted: true, forwards } })).toContain(
      'user,id=network,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:2022-:22',
    );
    expect(argumentsOf({})).not.toContain('-netdev');
  });
});

it('a runtime folder whose sockets nobody could connect to is refused', () => {
  expect(() => checkMachinePaths(`/${'x'.repeat(73)}`)).not.toThrow();
  expect(() => checkMachinePaths(`/${'x'.repeat(74)}`)).toThrow(RangeError);
});
