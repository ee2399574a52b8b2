/** What a running machine does when the disk below its disks is full: on a small file system of its own, which only root can make. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { type MachinesUnderTest, makeMachines, notingEvents } from '../support/machines.ts';
import { makeSmallDisk, mayMount, type SmallDisk } from '../support/small-disk.ts';

describe.runIf(mayMount)('a machine on a full disk', { timeout: 120_000 }, () => {
  let small: SmallDisk;
  let test: MachinesUnderTest;
  beforeEach(async () => {
    small = await makeSmallDisk(64);
    test = await makeMachines(small.path);
  });
  afterEach(async () => {
    await test.dispose().catch(() => {});
    await small.unmount();
  });

  it('waits, says why, and goes on without a loss when there is room again', async () => {
    const { disk } = await test.serve('vda');
    const spec = await test.guestSpec({ disks: [disk] });
    const machine = await test.hypervisor.start(spec);
    await test.untilReady(spec);
    const { listener, events } = notingEvents();
    await test.hypervisor.watch(machine, listener);
    small.fill();
    await test.inGuest(machine, '(yes | head -c 4194304 | dd of=/dev/vda bs=64k conv=fsync; echo $? > /run/ended) > /dev/null 2>&1 &');
    await eventually(() => events.length > 0, 'an event', 20_000);
    expect(events[0]).toEqual({ kind: 'io-error', diskId: disk.id, isFull: true });
    expect((await test.hypervisor.inspect(machine)).power).toBe('io-error');
    await small.empty();
    await test.hypervisor.resume(machine);
    await eventually(async () => (await test.inGuest(machine, 'cat /run/ended 2>/dev/null || true')) === '0', 'the write ends', 20_000);
    expect(
      await test.inGuest(machine, 'echo 3 > /proc/sys/vm/drop_caches; head -c 4194304 /dev/vda | md5sum; yes | head -c 4194304 | md5sum'),
    ).toMatch(/^(\w{32}) {2}-\n\1 {2}-$/);
    expect((await test.hypervisor.inspect(machine)).power).toBe('running');
  });
});
