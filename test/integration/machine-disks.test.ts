import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Machine, MachineSpec } from '../../src/engine/hypervisor/contract.ts';
import { connectQmp } from '../../src/engine/qemu/qmp.ts';
import type { DiskExport } from '../../src/engine/volumes/contract.ts';
import { eventually } from '../support/eventually.ts';
import { runScript } from '../support/kill-harness.ts';
import type { MachineOrder } from '../support/machine-process.ts';
import { type MachinesUnderTest, makeMachines, notingEvents, type ServedDisk } from '../support/machines.ts';

const script = join(import.meta.dirname, '../support/machine-process.ts');
const mib = 2 ** 20;
const unplugTimeoutMs = 20_000;

let test: MachinesUnderTest;
beforeEach(async () => {
  test = await makeMachines();
});
afterEach(() => test.dispose());

async function bootedWith(
  disks: readonly ServedDisk[],
  changed: Partial<MachineSpec> = {},
): Promise<{ machine: Machine; spec: MachineSpec }> {
  const spec = await test.guestSpec({ disks: disks.map(({ disk }) => disk), ...changed });
  const machine = await test.hypervisor.start(spec);
  await test.untilReady(spec);
  return { machine, spec };
}
const diskIdsOf = async (machine: Machine) => [...(await test.hypervisor.inspect(machine)).diskIds].sort();
const order = (what: MachineOrder, environment: Record<string, string> = {}) =>
  runScript(script, [test.runtimeDir, JSON.stringify(what)], environment);
const links = async (): Promise<string[]> => {
  const [folder = ''] = (await readdir(test.runtimeDir)).filter((name) => name.startsWith('m'));
  return (await readdir(join(test.runtimeDir, folder))).filter((name) => name.startsWith('d-'));
};

/** As a volume backend does: the export is away for a moment, and back larger. */
async function growServed({ monitorPath, id }: DiskExport, sizeBytes: number): Promise<void> {
  const monitor = await connectQmp(monitorPath);
  const [served] = await monitor
    .execute<{ id: string; 'node-name': string }[]>('query-block-exports')
    .then((all) => all.filter((one) => one.id.includes(id)));
  if (served === undefined) throw new Error('no export');
  await monitor.execute('block-export-del', { id: served.id, mode: 'hard' });
  await eventually(async () => {
    const left = await monitor.execute<{ id: string }[]>('query-block-exports');
    return left.every((one) => one.id !== served.id);
  }, 'the export is gone');
  const node = served['node-name'];
  await monitor.execute('block_resize', { 'node-name': node, size: sizeBytes });
  await monitor.execute('block-export-add', { type: 'nbd', id: served.id, 'node-name': node, name: 'disk', writable: true });
  monitor.close();
}

describe('disks of a running machine', { timeout: 120_000 }, () => {
  it('are plugged into the slot of their name, and unplugged, while the guest uses others', async () => {
    const first = await test.serve('vda');
    const second = await test.serve('vdb', { sizeMib: 16 });
    const configDrivePath = join(test.files.dir, 'config.iso');
    await writeFile(configDrivePath, Buffer.alloc(4096, 'config'));
    const { machine } = await bootedWith([first], { configDrivePath });
    // It takes no name that disks have, and cannot be written.
    expect(await test.inGuest(machine, 'head -c 6 /dev/sr0; cat /sys/block/sr0/ro; ls /sys/block | grep vd')).toBe('config1\nvda');
    await test.hypervisor.plug(machine, second.disk);
    await test.hypervisor.plug(machine, second.disk);
    expect(await diskIdsOf(machine)).toEqual([first.disk.id, second.disk.id].sort());
    await eventually(async () => (await test.inGuest(machine, 'ls /sys/block')).includes('vdb'), 'the guest sees it');
    expect(await test.inGuest(machine, 'cat /sys/block/vdb/serial; echo; cat /sys/block/vdb/size')).toBe(
      `${second.disk.id.slice(0, 20)}\n${(16 * mib) / 512}`,
    );
    await test.inGuest(machine, 'echo hello | dd of=/dev/vdb conv=fsync 2>/dev/null');
    await test.hypervisor.unplug(machine, second.disk.id, unplugTimeoutMs);
    await test.hypervisor.unplug(machine, second.disk.id, unplugTimeoutMs);
    expect(await diskIdsOf(machine)).toEqual([first.disk.id]);
    expect(await links()).toHaveLength(1);
    expect(await test.inGuest(machine, 'ls /sys/block')).not.toContain('vdb');
    // Again, in the slot that became free, with what was written to it.
    await test.hypervisor.plug(machine, second.disk);
    await eventually(async () => (await test.inGuest(machine, 'ls /sys/block')).includes('vdb'), 'the guest sees it again');
    expect(await test.inGuest(machine, 'head -c 5 /dev/vdb')).toBe('hello');
  });

  it('stay where a guest does not let go, which a later call finishes', async () => {
    const { disk } = await test.serve('vda');
    const machine = await test.hypervisor.start(test.spec({ disks: [disk] }));
    await expect(test.hypervisor.unplug(machine, disk.id, 500)).rejects.toMatchObject({ kind: 'busy' });
    expect(await diskIdsOf(machine)).toEqual([disk.id]);
    await test.hypervisor.pause(machine);
    await expect(test.hypervisor.unplug(machine, disk.id, 60_000)).rejects.toMatchObject({ kind: 'busy', message: /paused/ });
  });

  it('are refused whose server is gone, or whose slot is taken, and leave nothing', async () => {
    const first = await test.serve('vda');
    const second = await test.serve('vda');
    const machine = await test.hypervisor.start(test.spec({ disks: [first.disk] }));
    await expect(test.hypervisor.plug(machine, second.disk)).rejects.toMatchObject({ kind: 'failed', message: /slot|in use/ });
    await test.files.kill(second.target);
    const failure = test.hypervisor.plug(machine, { ...second.disk, device: 'vdb' });
    await expect(failure).rejects.toMatchObject({ kind: 'failed', message: /refused/ });
    await expect(test.hypervisor.plug(machine, { ...second.disk, socketPath: '/none', device: 'vdb' })).rejects.toMatchObject({
      kind: 'failed',
    });
    expect(await links()).toHaveLength(1);
    expect(await diskIdsOf(machine)).toEqual([first.disk.id]);
  });

  it('grow under a guest that writes, and under one that does not', async () => {
    const disks = [await test.serve('vda'), await test.serve('vdb')] as const;
    const { machine } = await bootedWith(disks);
    await test.hypervisor.watch(machine, () => {});
    await test.inGuest(machine, 'while dd if=/dev/urandom of=/dev/vda bs=4k count=500 conv=fsync; do :; done >/dev/null 2>&1 &');
    for (const { target, disk } of disks) {
      await growServed(target, 32 * mib);
      await test.hypervisor.growDisk(machine, disk.id, 32 * mib);
      await test.hypervisor.growDisk(machine, disk.id, 32 * mib);
    }
    expect((await test.hypervisor.inspect(machine)).power).toBe('running');
    expect(await test.inGuest(machine, 'cat /sys/block/vda/size /sys/block/vdb/size')).toBe(`${(32 * mib) / 512}\n${(32 * mib) / 512}`);
    // The loop ends at the first error that it sees.
    const written = () => test.inGuest(machine, "awk '{print $7}' /sys/block/vda/stat");
    const before = await written();
    await eventually(async () => (await written()) !== before, 'the guest writes on', 30_000);
    await expect(test.hypervisor.growDisk(machine, disks[0].disk.id, 64 * mib)).rejects.toMatchObject({ kind: 'failed', message: /grow/ });
  });

  it('whose server dies stop the machine, which says which disk it was', async () => {
    const served = await test.serve('vda');
    const { machine } = await bootedWith([served]);
    const { listener, events } = notingEvents();
    await test.hypervisor.watch(machine, listener);
    await test.files.kill(served.target);
    await test.inGuest(machine, 'dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct >/dev/null 2>&1 & sleep 0').catch(() => {});
    await eventually(() => events.length > 0, 'an event');
    expect(events[0]).toEqual({ kind: 'io-error', diskId: served.disk.id, isFull: false });
    expect((await test.hypervisor.inspect(machine)).power).toBe('io-error');
    // Another server at the same place is not connected to: what the first had acknowledged may be lost.
    const other = await test.files.backend.openExport(randomUUID(), [served.layer], { readOnly: false });
    expect(existsSync(other.socketPath)).toBe(true);
    await test.hypervisor.resume(machine);
    await eventually(() => events.length > 1, 'the next error');
    expect((await test.hypervisor.inspect(machine)).power).toBe('io-error');
  });
});

describe('a guest', { timeout: 120_000 }, () => {
  it('that turns itself off is told, stays to be seen, and starts again at a reset', async () => {
    const { machine, spec } = await bootedWith([]);
    const { listener, events } = notingEvents();
    await test.hypervisor.watch(machine, listener);
    await test.inGuest(machine, '(sleep 0.3; poweroff -f) > /dev/null 2>&1 &');
    expect(await test.hypervisor.shutDown(machine, 20_000)).toBe(true);
    expect(await test.hypervisor.inspect(machine)).toEqual({ power: 'shut-down', diskIds: [] });
    expect(events).toEqual([{ kind: 'stopped', reason: 'the guest turned itself off' }]);
    expect(await test.hypervisor.watch(machine, listener)).toMatchObject({ power: 'shut-down' });
    await expect(test.hypervisor.resume(machine)).rejects.toMatchObject({ kind: 'failed' });
    const before = (await test.hypervisor.readConsole(spec.consolePath, mib)).length;
    await test.hypervisor.reset(machine);
    await eventually(
      async () => (await test.hypervisor.readConsole(spec.consolePath, mib)).slice(before).includes('guest: ready'),
      'it boots',
      40_000,
    );
    await test.inGuest(machine, '(sleep 0.3; reboot -f) > /dev/null 2>&1 &');
    await eventually(() => events.some(({ kind }) => kind === 'reset'), 'the restart');
    await test.hypervisor.end(machine);
    await eventually(() => events.at(-1)?.kind === 'stopped', 'the end');
    expect(events.slice(1)).toEqual([{ kind: 'reset' }, { kind: 'stopped', reason: 'it was ended' }]);
  });

  it('runs on when its service is killed, and is taken over by the next one', async () => {
    const spec = await test.guestSpec({ disks: [(await test.serve('vda')).disk] });
    const first = await order({ operation: 'watch', spec });
    expect(first.signal).toBe('SIGKILL');
    const [found] = await test.hypervisor.listMachines();
    const machine = found?.machine as Machine;
    expect(machine.id).toBe(spec.id);
    const { listener, events } = notingEvents();
    expect(await test.hypervisor.watch(machine, listener)).toEqual({ power: 'running', diskIds: [spec.disks[0]?.id] });
    await test.untilReady(spec);
    await test.inGuest(machine, '(sleep 0.3; poweroff -f) > /dev/null 2>&1 &');
    await eventually(() => events.length > 0, 'an event');
    expect(events).toEqual([{ kind: 'stopped', reason: 'the guest turned itself off' }]);
  });
});

describe('a service that is killed', { timeout: 240_000 }, () => {
  it.each(['machine:folder:after', 'machine:launch:after', 'machine:record:before', 'machine:record:after', 'machine:cont:after'])(
    'in a start at %s leaves what a repeat makes whole',
    async (point) => {
      const spec = test.spec({ disks: [(await test.serve('vda')).disk] });
      expect((await order({ operation: 'start', spec }, { STILLPOINT_CRASH_POINT: point })).signal).toBe('SIGKILL');
      const machine = await test.hypervisor.start(spec);
      expect(await test.hypervisor.inspect(machine)).toEqual({ power: 'running', diskIds: [spec.disks[0]?.id] });
      expect(await test.hypervisor.listMachines()).toEqual([{ name: expect.any(String), machine }]);
    },
  );

  it('in a plug, an unplug or an end at any point leaves what a repeat makes whole', async () => {
    const { machine } = await bootedWith([]);
    const { disk } = await test.serve('vdb');
    const killed = async (what: MachineOrder, point: string): Promise<void> => {
      expect([point, (await order(what, { STILLPOINT_CRASH_POINT: point })).signal]).toEqual([point, 'SIGKILL']);
    };
    for (const point of ['machine:plug:link:after', 'machine:plug:node:after', 'machine:plug:device:after']) {
      await killed({ operation: 'plug', machine, disk }, point);
      await test.hypervisor.plug(machine, disk);
      expect(await diskIdsOf(machine)).toEqual([disk.id]);
      await test.hypervisor.unplug(machine, disk.id, unplugTimeoutMs);
    }
    for (const point of ['machine:unplug:device:after', 'machine:unplug:node:after']) {
      await test.hypervisor.plug(machine, disk);
      await sleep(0);
      await killed({ operation: 'unplug', machine, diskId: disk.id }, point);
      await test.hypervisor.unplug(machine, disk.id, unplugTimeoutMs);
      expect([await diskIdsOf(machine), await links()]).toEqual([[], []]);
    }
    await killed({ operation: 'end', machine }, 'machine:end:after');
    await test.hypervisor.end(machine);
    expect(await test.hypervisor.listMachines()).toEqual([]);
  });
});
