import { existsSync } from 'node:fs';
import { readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectQmp } from '../../src/engine/qemu/qmp.ts';
import { isProcessAlive } from '../../src/lib/processes.ts';
import { eventually } from '../support/eventually.ts';
import { type MachinesUnderTest, makeMachines, notingEvents } from '../support/machines.ts';
import { processes } from '../support/processes.ts';

let test: MachinesUnderTest;
beforeEach(async () => {
  test = await makeMachines();
});
afterEach(() => test.dispose());

const ownProcesses = async () =>
  (await processes()).filter(({ commandLine }) => commandLine.startsWith('qemu-system') && commandLine.includes(test.runtimeDir));
const ownFolders = async () => (await readdir(test.runtimeDir)).filter((name) => name.startsWith('m'));

describe('a machine', () => {
  it('is started, stopped for a while, reset and ended', async () => {
    const { disk } = await test.serve('vda');
    const { listener, events } = notingEvents();
    const machine = await test.hypervisor.start(test.spec({ disks: [{ ...disk, bootIndex: 0 }] }));
    expect(await test.hypervisor.watch(machine, listener)).toEqual({ power: 'running', diskIds: [disk.id] });
    await test.hypervisor.pause(machine);
    expect((await test.hypervisor.inspect(machine)).power).toBe('paused');
    await test.hypervisor.reset(machine);
    expect((await test.hypervisor.inspect(machine)).power).toBe('paused');
    await test.hypervisor.resume(machine);
    expect((await test.hypervisor.inspect(machine)).power).toBe('running');
    expect(await test.hypervisor.shutDown(machine, 300)).toBe(false);
    const startedAt = performance.now();
    await test.hypervisor.end(machine);
    // A proper end, at the first signal.
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    await test.hypervisor.end(machine);
    expect(await test.hypervisor.inspect(machine)).toEqual({ power: 'gone', diskIds: [] });
    // A firmware that is reset in the middle of its work may restart once more by itself.
    const stops = () => events.filter(({ kind }) => kind !== 'reset');
    await eventually(() => stops().length > 0, 'an event');
    expect(stops()).toEqual([{ kind: 'stopped', reason: 'it was ended' }]);
    await expect(test.hypervisor.pause(machine)).rejects.toMatchObject({ kind: 'gone' });
    expect(await ownFolders()).toEqual([]);
    expect(await test.files.backend.inspectExport((await test.serve('vdb')).target)).toMatchObject({ alive: true });
  });

  it('that is started again under its id is the same', async () => {
    const spec = test.spec();
    const machine = await test.hypervisor.start(spec);
    expect(await test.another().start(spec)).toEqual(machine);
    expect(await ownProcesses()).toHaveLength(1);
  });

  it('that cannot start leaves no process and no folder, and says why', async () => {
    const { disk, target } = await test.serve('vda');
    const start = (changed: object) => test.hypervisor.start(test.spec(changed));
    await expect(start({ disks: [{ ...disk, socketPath: '/nowhere' }] })).rejects.toMatchObject({
      kind: 'failed',
      message: /nobody serves disk/,
    });
    await expect(start({ disks: [{ ...disk, exportName: 'other' }] })).rejects.toMatchObject({
      kind: 'failed',
      message: /ended at its start: .*other/s,
    });
    await test.files.kill(target);
    await expect(start({ disks: [disk] })).rejects.toMatchObject({ kind: 'failed', message: /Connection refused/ });
    await expect(start({ id: '../x' })).rejects.toBeInstanceOf(RangeError);
    await expect(start({ disks: [{ ...disk, device: 'sda' }] })).rejects.toBeInstanceOf(RangeError);
    await expect(start({ memoryMib: 2 ** 40 })).rejects.toMatchObject({ kind: 'failed' });
    expect(await ownProcesses()).toEqual([]);
    expect(await ownFolders()).toEqual([]);
  });

  it('sees nothing of the host but what was named for it', async () => {
    const { disk } = await test.serve('vda');
    const spec = test.spec({ disks: [disk], network: { kind: 'user', restricted: true, forwards: [] } });
    const machine = await test.hypervisor.start(spec);
    const root = `/proc/${machine.processId}/root`;
    expect((await readdir(root)).sort()).toEqual(expect.arrayContaining(['proc', 'usr']));
    expect((await readdir(root)).filter((name) => ['home', 'root', 'boot', 'var', 'srv'].includes(name))).toEqual([]);
    expect(existsSync(`${root}${spec.consolePath}`)).toBe(true);
    expect(existsSync(`${root}${join(test.files.dir, 'layers')}`)).toBe(false);
    expect(await readdir(`${root}${test.runtimeDir}`)).toEqual(await ownFolders());
    const [status, limits, [own, its]] = await Promise.all([
      readFile(`/proc/${machine.processId}/status`, 'latin1'),
      readFile(`/proc/${machine.processId}/limits`, 'latin1'),
      Promise.all(['self', machine.processId].map((id) => stat(`/proc/${id}/ns/net`))),
    ]);
    expect(status).toMatch(/Seccomp:\t2/);
    expect(status).toMatch(/CapEff:\t0+\n/);
    expect(status).toMatch(/NoNewPrivs:\t1/);
    expect(limits).toMatch(/Max address space +[1-9]/);
    expect(limits).toMatch(/Max file size +4194304/);
    expect(its?.ino).not.toBe(own?.ino);
  });

  it('that somebody killed is told once, with what is known', async () => {
    const { listener, events } = notingEvents();
    const machine = await test.hypervisor.start(test.spec());
    await test.hypervisor.watch(machine, listener);
    process.kill(machine.processId, 'SIGKILL');
    await eventually(() => events.length > 0, 'an event');
    expect(events).toEqual([{ kind: 'stopped', reason: 'QEMU was killed' }]);
    expect((await test.hypervisor.inspect(machine)).power).toBe('gone');
    expect(await test.hypervisor.watch(machine, listener)).toEqual({ power: 'gone', diskIds: [] });
    // Its folder is found, and goes.
    const [found] = await test.hypervisor.listMachines();
    expect(found).toEqual({ name: expect.stringMatching(/^m[0-9a-f]{12}$/), machine: undefined });
    await test.hypervisor.endFound(found?.name ?? '');
    expect(await test.hypervisor.listMachines()).toEqual([]);
  });

  it('that hangs makes calls fail within their time, and can be ended', { timeout: 60_000 }, async () => {
    const { listener, events } = notingEvents();
    const machine = await test.hypervisor.start(test.spec());
    const fresh = await test.hypervisor.start(test.spec());
    await test.hypervisor.watch(machine, listener);
    for (const { processId } of [machine, fresh]) process.kill(processId, 'SIGSTOP');
    const calls = await Promise.allSettled([test.hypervisor.inspect(machine), test.hypervisor.pause(fresh)]);
    for (const call of calls)
      expect(call).toMatchObject({ reason: { kind: 'failed', message: expect.stringMatching(/did not (?:answer|greet)/) } });
    await Promise.all([machine, fresh].map((one) => test.hypervisor.end(one)));
    expect(await ownProcesses()).toEqual([]);
    await eventually(() => events.length > 0, 'an event');
    expect(events).toEqual([{ kind: 'stopped', reason: 'it was ended' }]);
  });

  it('answers by its rescue monitor while somebody holds the other one', async () => {
    const machine = await test.hypervisor.start(test.spec());
    const holder = test.another();
    await holder.watch(machine, () => {});
    expect(await test.hypervisor.inspect(machine)).toEqual({ power: 'running', diskIds: [] });
  });

  it('is found on the host by whoever comes later, and not by the service of another folder', async () => {
    const machine = await test.hypervisor.start(test.spec());
    const other = await makeMachines();
    try {
      expect(await other.hypervisor.listMachines()).toEqual([]);
      expect(await test.another().listMachines()).toEqual([{ name: (await ownFolders())[0], machine }]);
      await test.another().endFound((await ownFolders())[0] as string);
      expect(isProcessAlive(machine.processId, machine.id)).toBe(false);
      await expect(test.hypervisor.endFound('../..')).rejects.toBeInstanceOf(RangeError);
    } finally {
      await other.dispose();
    }
  });

  it('sends its memory to a socket in its folder, in spite of the sandbox', async () => {
    const machine = await test.hypervisor.start(test.spec());
    const [folder = ''] = await ownFolders();
    const path = join(test.runtimeDir, folder, 'memory');
    let received = 0;
    const server = createServer((socket) => socket.on('data', (bytes) => (received += bytes.length)));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const monitor = await connectQmp(join(test.runtimeDir, folder, 'rescue'));
    try {
      await monitor.execute('migrate', { uri: `unix:${path}` });
      const statusOf = async () => (await monitor.execute<{ status: string }>('query-migrate')).status;
      await eventually(async () => (await statusOf()) === 'completed', 'the memory is sent');
      expect(received).toBeGreaterThan(100_000);
      expect((await test.hypervisor.inspect(machine)).power).toBe('paused');
    } finally {
      monitor.close();
      server.close();
    }
  });

  it('forwards ports of loopback only', async () => {
    const hostPort = 20_000 + (process.pid % 20_000);
    const forwards = [{ hostPort, guestPort: 22 }];
    const machine = await test.hypervisor.start(test.spec({ network: { kind: 'user', restricted: true, forwards } }));
    const listening = (await readFile(`/proc/${machine.processId}/net/tcp`, 'latin1')).split('\n').map((line) => line.split(/\s+/)[2]);
    const port = hostPort.toString(16).toUpperCase().padStart(4, '0');
    expect(listening.filter((address) => address?.endsWith(`:${port}`))).toEqual([`0100007F:${port}`]);
    const second = test.hypervisor.start(test.spec({ network: { kind: 'user', restricted: true, forwards } }));
    await expect(second).rejects.toMatchObject({ kind: 'failed', message: /host forwarding rule/ });
  });
});

describe('the console of a machine', () => {
  it('is read from its end, in whole characters', async () => {
    const { consolePath } = test.spec();
    expect(await test.hypervisor.readConsole(consolePath, 100)).toBe('');
    await writeFile(consolePath, 'fooäbar');
    expect(await test.hypervisor.readConsole(consolePath, 5)).toBe('äbar');
    expect(await test.hypervisor.readConsole(consolePath, 4)).toBe('bar');
    expect(await test.hypervisor.readConsole(consolePath, 100)).toBe('fooäbar');
  });

  it('never grows beyond its limit, and the guest runs on', async () => {
    const spec = await test.guestSpec();
    const machine = await test.hypervisor.start(spec);
    await test.untilReady(spec);
    // As after a long time without a service.
    const limit = 4 * 2 ** 20;
    await truncate(spec.consolePath, limit - 1000);
    expect(await test.inGuest(machine, 'yes | head -c 20000 > /dev/ttyS0; echo done')).toBe('done');
    expect((await stat(spec.consolePath)).size).toBe(limit);
    expect((await test.hypervisor.inspect(machine)).power).toBe('running');
    await test.hypervisor.watch(machine, () => {});
    await eventually(async () => (await stat(spec.consolePath)).size < 2 ** 20, 'the console is cut', 15_000);
    await test.inGuest(machine, 'echo "said later" > /dev/ttyS0');
    await eventually(
      async () => (await test.hypervisor.readConsole(spec.consolePath, 1000)).includes('said later'),
      'the guest is heard again',
    );
  });
});
