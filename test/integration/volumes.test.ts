import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { writeThrough } from '../support/disk-tree.ts';
import { callerOf, startVolumeCloud, type VolumeCloud } from '../support/volume-cloud.ts';

const run = promisify(execFile);
let cloud: VolumeCloud;
beforeAll(async () => {
  cloud = await startVolumeCloud();
});
afterAll(() => cloud.stop());

const ada = callerOf('project-of-ada');
const eve = callerOf('project-of-eve');
const reader = callerOf('project-of-ada', ['reader']);
const admin = callerOf('project-of-admin', ['admin']);
const deletion = { cascade: false, force: false };
const refused = (kind: string, message: string | RegExp) => ({ kind, message: expect.stringMatching(message) as unknown });
const deletable = /^Invalid volume: Volume status must be available or error/;

const readAt = async (socketPath: string, offset: number, pattern: number): Promise<void> => {
  const { stdout } = await run('qemu-io', [
    '-r',
    '-f',
    'raw',
    '-c',
    `read -P ${pattern} ${offset} 4096`,
    `nbd+unix:///disk?socket=${socketPath}`,
  ]);
  expect(stdout).not.toContain('verification failed');
};

describe('a volume', () => {
  it('is there at once and available soon, and gone after its deletion', async () => {
    const ordered = await cloud.order(ada, { name: 'disk', description: 'd', metadata: { k: 'v' } });
    expect(ordered).toMatchObject({
      status: 'creating',
      name: 'disk',
      description: 'd',
      sizeGib: 1,
      metadata: { k: 'v' },
      updatedAt: null,
    });
    const volume = await cloud.settledVolume(ada, ordered.id);
    expect(volume).toMatchObject({ status: 'available', volumeType: { name: '__DEFAULT__' }, availabilityZone: 'nova', attachments: [] });
    await cloud.volumes.delete(ada, volume.id, deletion);
    await cloud.gone(() => cloud.volumes.get(ada, volume.id));
  });

  it('does not exist for other projects, and not under an id that is none', async () => {
    const { id } = await cloud.volume(ada);
    for (const wrong of [id, newId(), 'no-id']) {
      const missing = refused('not-found', `^Volume ${wrong} could not be found\\.$`);
      await expect(cloud.volumes.get(eve, wrong)).rejects.toMatchObject(missing);
      await expect(cloud.volumes.delete(eve, wrong, deletion)).rejects.toMatchObject(missing);
      await expect(cloud.volumes.extend(eve, wrong, 2)).rejects.toMatchObject(missing);
      await expect(cloud.volumes.reserve(eve, wrong)).rejects.toMatchObject(missing);
    }
    expect((await cloud.volumes.get(admin, id)).id).toBe(id);
    await expect(cloud.volumes.delete(reader, id, deletion)).rejects.toMatchObject({ kind: 'forbidden' });
  });

  it('grows, keeps its snapshots, and refuses to shrink', async () => {
    const { id } = await cloud.volume(ada);
    await cloud.snapshot(ada, id);
    await cloud.volumes.extend(ada, id, 2);
    await expect(cloud.volumes.get(ada, id)).resolves.toMatchObject({ sizeGib: 2 });
    expect(await cloud.settledVolume(ada, id)).toMatchObject({ status: 'available', sizeGib: 2 });
    expect(await cloud.disks.sizeOf(id)).toBe(2 * 2 ** 30);
    await expect(cloud.volumes.extend(ada, id, 2)).rejects.toMatchObject(refused('bad-request', /New size for extend must be greater/));
  });

  it('with snapshots is deleted only together with them', async () => {
    const { id } = await cloud.volume(ada);
    const snapshot = await cloud.snapshot(ada, id);
    await expect(cloud.volumes.delete(ada, id, deletion)).rejects.toMatchObject(refused('bad-request', deletable));
    await expect(cloud.volumes.forceDelete(admin, id)).rejects.toMatchObject(refused('bad-request', deletable));
    await cloud.volumes.delete(ada, id, { cascade: true, force: false });
    await cloud.gone(() => cloud.volumes.get(ada, id));
    await expect(cloud.snapshots.get(ada, snapshot.id)).rejects.toMatchObject({ kind: 'not-found' });
  });

  it('goes by force from any status, and resets to any but deleting', async () => {
    const { id } = await cloud.volume(ada);
    await expect(cloud.volumes.resetStatus(ada, id, { status: 'error', attachStatus: null })).rejects.toMatchObject({ kind: 'forbidden' });
    for (const status of ['deleting', 'nonsense', 'in-use']) {
      await expect(cloud.volumes.resetStatus(admin, id, { status, attachStatus: null })).rejects.toMatchObject({ kind: 'bad-request' });
    }
    await cloud.volumes.resetStatus(admin, id, { status: 'maintenance', attachStatus: null });
    await expect(cloud.volumes.delete(ada, id, deletion)).rejects.toMatchObject(refused('bad-request', deletable));
    await expect(cloud.volumes.forceDelete(ada, id)).rejects.toMatchObject({ kind: 'forbidden' });
    await cloud.volumes.forceDelete(admin, id);
    await cloud.gone(() => cloud.volumes.get(ada, id));
  });

  it('changes its name, metadata and flags', async () => {
    const { id } = await cloud.volume(ada, { metadata: { a: '1', b: '2' } });
    expect(await cloud.volumes.update(ada, id, { name: 'new', description: null })).toMatchObject({ name: 'new', description: null });
    expect(await cloud.volumes.changeMetadata(ada, id, { kind: 'merge', pairs: { b: '3', c: '4' } })).toEqual({ a: '1', b: '3', c: '4' });
    expect(await cloud.volumes.changeMetadata(ada, id, { kind: 'remove', key: 'a' })).toEqual({ b: '3', c: '4' });
    await expect(cloud.volumes.changeMetadata(ada, id, { kind: 'remove', key: 'a' })).rejects.toMatchObject({ kind: 'not-found' });
    expect(await cloud.volumes.changeMetadata(ada, id, { kind: 'replace', pairs: {} })).toEqual({});
    await cloud.volumes.setBootable(ada, id, true);
    await cloud.volumes.setReadonly(ada, id, true);
    expect(await cloud.volumes.get(ada, id)).toMatchObject({ bootable: true, readonly: true });
    await cloud.volumes.reserve(ada, id);
    const asWriter = { instanceId: null, hostName: 'h', mountpoint: null, mode: 'rw' } as const;
    await expect(cloud.volumes.attach(ada, id, asWriter)).rejects.toMatchObject({ kind: 'bad-request' });
    await cloud.volumes.unreserve(ada, id);
    expect((await cloud.volumes.get(ada, id)).status).toBe('available');
  });
});

describe('volumes from others', () => {
  it('hold what the snapshot or the volume held, also after that is gone, and never less of it', async () => {
    const source = await cloud.volume(ada, { sizeGib: 2 });
    const socket = await cloud.connect(ada, source.id);
    await writeThrough(socket, [{ offset: 0, length: 4096, pattern: 7 }]);
    const snapshot = await cloud.snapshot(ada, source.id);
    await writeThrough(socket, [{ offset: 0, length: 4096, pattern: 8 }]);
    const small = { sizeGib: 1, source: { kind: 'snapshot', id: snapshot.id } } as const;
    await expect(cloud.order(ada, small)).rejects.toMatchObject(
      refused('bad-request', /^Invalid input received: Volume size '1'GB cannot be smaller than the snapshot size 2GB/),
    );
    const old = await cloud.volume(ada, { sizeGib: null, source: { kind: 'snapshot', id: snapshot.id } });
    const clone = await cloud.volume(ada, { sizeGib: 3, source: { kind: 'volume', id: source.id } });
    expect(old).toMatchObject({ status: 'available', sizeGib: 2, snapshotId: snapshot.id });
    expect(clone).toMatchObject({ status: 'available', sizeGib: 3, sourceVolumeId: source.id });
    await cloud.disconnect(ada, source.id);
    await cloud.volumes.delete(ada, source.id, { cascade: true, force: false });
    await cloud.gone(() => cloud.volumes.get(ada, source.id));
    await cloud.disks.tidy();
    for (const [volume, pattern] of [
      [old, 7],
      [clone, 8],
    ] as const) {
      await readAt(await cloud.connect(ada, volume.id), 0, pattern);
      await cloud.disconnect(ada, volume.id);
    }
  });

  it('need a source that is there, visible and whole', async () => {
    const { id } = await cloud.volume(eve);
    await expect(cloud.order(ada, { source: { kind: 'volume', id } })).rejects.toMatchObject(refused('not-found', `^Volume ${id}`));
    await expect(cloud.order(ada, { source: { kind: 'snapshot', id: newId() } })).rejects.toMatchObject(refused('not-found', /^Snapshot/));
    await expect(cloud.order(ada, { sizeGib: null })).rejects.toMatchObject(refused('bad-request', /Invalid volume size provided/));
    await expect(cloud.order(ada, { availabilityZone: 'moon' })).rejects.toMatchObject(refused('bad-request', /zone 'moon' is invalid/));
    await expect(cloud.order(ada, { volumeType: 'gold' })).rejects.toMatchObject(refused('not-found', /^Volume type with name gold/));
    await cloud.volumes.resetStatus(admin, id, { status: 'error', attachStatus: null });
    await expect(cloud.order(eve, { source: { kind: 'volume', id } })).rejects.toMatchObject(refused('bad-request', /^Invalid volume/));
  });
});

describe('an attached volume', () => {
  it('is in use, served, snapshotted live, and kept from everything else', async () => {
    const { id } = await cloud.volume(ada);
    const socket = await cloud.connect(ada, id);
    expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'in-use', attachments: [{ hostName: 'here', mode: 'rw' }] });
    await writeThrough(socket, [{ offset: 0, length: 4096, pattern: 1 }]);
    const withoutForce = { volumeId: id, name: null, description: null, metadata: {}, inUse: false };
    await expect(cloud.snapshots.create(ada, withoutForce)).rejects.toMatchObject(refused('bad-request', /^Invalid volume/));
    await expect(cloud.volumes.delete(ada, id, deletion)).rejects.toMatchObject(refused('bad-request', deletable));
    await expect(cloud.volumes.extend(ada, id, 2)).rejects.toMatchObject({ kind: 'bad-request' });
    await expect(cloud.volumes.reserve(ada, id)).rejects.toMatchObject({ kind: 'bad-request' });
    expect((await cloud.snapshot(ada, id)).status).toBe('available');
    await cloud.volumes.beginDetaching(ada, id);
    await cloud.volumes.rollDetaching(ada, id);
    expect((await cloud.volumes.get(ada, id)).status).toBe('in-use');
    await cloud.disconnect(ada, id);
    expect(await cloud.volumes.get(ada, id)).toMatchObject({ status: 'available', attachments: [] });
    expect(await cloud.held.database.sql.selectFrom('volume_exports').selectAll().execute()).toEqual([]);
  });

  it('keeps writes that were flushed when it is detached, and may be read-only', async () => {
    const { id } = await cloud.volume(ada);
    await writeThrough(await cloud.connect(ada, id), [{ offset: 2 ** 20, length: 4096, pattern: 5 }]);
    await cloud.disconnect(ada, id);
    await cloud.volumes.setReadonly(ada, id, true);
    const { socketPath, accessMode } = await cloud.volumes.initializeConnection(ada, id, { readOnly: false });
    expect(accessMode).toBe('ro');
    await readAt(socketPath, 2 ** 20, 5);
    await expect(writeThrough(socketPath, [{ offset: 0, length: 4096, pattern: 1 }])).rejects.toThrow();
    await cloud.volumes.terminateConnection(ada, id);
  });
});

describe('quotas', () => {
  it('let exactly as many volumes through as they say, also when all are asked for at once', async () => {
    const max = callerOf('project-of-max');
    const asked = await Promise.allSettled(Array.from({ length: 20 }, () => cloud.order(max)));
    const refusals = asked.filter((result) => result.status === 'rejected').map(({ reason }) => reason);
    expect(refusals).toHaveLength(10);
    for (const reason of refusals) {
      expect(reason).toMatchObject(refused('over-limit', /^VolumeLimitExceeded: Maximum number of volumes allowed \(10\) exceeded/));
    }
    const page = {
      filters: [],
      metadata: {},
      sort: [{ column: 'id', direction: 'asc' } as const],
      limit: 100,
      offset: 0,
      marker: undefined,
      allProjects: false,
      withCount: true,
    };
    expect((await cloud.volumes.list(max, page)).count).toBe(10);
  });

  it('count the gigabytes of volumes, snapshots and growth', async () => {
    const max = callerOf('project-with-few-gigabytes');
    await cloud.quotas.setLimits(admin, 'project-with-few-gigabytes', { gigabytes: 3, snapshots: 1 });
    const { id } = await cloud.volume(max);
    const tooLarge = refused('over-limit', /exceeds allowed gigabytes quota/);
    await expect(cloud.volumes.extend(max, id, 4)).rejects.toMatchObject(tooLarge);
    await cloud.volumes.extend(max, id, 2);
    await cloud.settledVolume(max, id);
    const order = { volumeId: id, name: null, description: null, metadata: {}, inUse: false };
    await expect(cloud.snapshots.create(max, order)).rejects.toMatchObject(tooLarge);
    await cloud.quotas.setLimits(admin, 'project-with-few-gigabytes', { gigabytes: 4 });
    await cloud.snapshot(max, id);
    await expect(cloud.order(max)).rejects.toMatchObject(tooLarge);
  });
});

describe('snapshots', () => {
  it('are deleted in any order, and the others keep their bytes', async () => {
    const { id } = await cloud.volume(ada);
    const ids: string[] = [];
    for (let round = 1; round <= 4; round += 1) {
      await writeThrough(await cloud.connect(ada, id), [{ offset: 0, length: 4096, pattern: round }]);
      await cloud.disconnect(ada, id);
      ids.push((await cloud.snapshot(ada, id)).id);
    }
    for (const index of [2, 0]) {
      await cloud.snapshots.delete(ada, ids[index] ?? '');
      await cloud.gone(() => cloud.snapshots.get(ada, ids[index] ?? ''));
      await cloud.disks.tidy();
    }
    for (const index of [1, 3]) {
      const copy = await cloud.volume(ada, { sizeGib: null, source: { kind: 'snapshot', id: ids[index] ?? '' } });
      await readAt(await cloud.connect(ada, copy.id), 0, index + 1);
      await cloud.disconnect(ada, copy.id);
      await cloud.volumes.delete(ada, copy.id, deletion);
      await cloud.gone(() => cloud.volumes.get(ada, copy.id));
    }
  });

  it('refuse deletion in a wrong state, do not exist for others, and go by force', async () => {
    const volume = await cloud.volume(ada);
    const { id } = await cloud.snapshot(ada, volume.id);
    await expect(cloud.snapshots.get(eve, id)).rejects.toMatchObject(refused('not-found', `^Snapshot ${id} could not be found\\.$`));
    await cloud.snapshots.resetStatus(admin, id, 'backing-up');
    await expect(cloud.snapshots.delete(ada, id)).rejects.toMatchObject(
      refused('bad-request', /^Invalid snapshot: Snapshot status must be available or error and must not be part of a group\.$/),
    );
    await expect(cloud.order(ada, { source: { kind: 'snapshot', id } })).rejects.toMatchObject({ kind: 'bad-request' });
    await cloud.snapshots.resetStatus(admin, id, 'error');
    await cloud.snapshots.forceDelete(admin, id);
    await cloud.gone(() => cloud.snapshots.get(ada, id));
  });

  it('follow what a driver reports, within its rules', async () => {
    const volume = await cloud.volume(ada);
    const { id } = await cloud.snapshot(ada, volume.id);
    await expect(cloud.snapshots.reportStatus(ada, id, 'error', null)).rejects.toMatchObject({ kind: 'bad-request' });
    await cloud.snapshots.resetStatus(admin, id, 'creating');
    await cloud.snapshots.reportStatus(ada, id, 'available', '80%');
    expect(await cloud.snapshots.get(ada, id)).toMatchObject({ status: 'available', progress: '80%' });
  });
});

describe('what backups do to volumes', () => {
  const bob = callerOf('project-of-bob');
  const transact = <T>(work: Parameters<typeof cloud.held.database.transact<T>>[0]) => cloud.held.database.transact(work);

  it('leads back to where the volume was', async () => {
    const { id } = await cloud.volume(bob);
    const { forBackups } = cloud.volumes;
    await transact((tx) => forBackups.beginBackup(tx, bob, id, { force: false }));
    await expect(transact((tx) => forBackups.beginBackup(tx, bob, id, { force: true }))).rejects.toMatchObject({ kind: 'bad-request' });
    await transact((tx) => forBackups.endBackup(tx, id, 'failed'));
    await transact((tx) => forBackups.endBackup(tx, id, 'failed'));
    expect(await cloud.volumes.get(bob, id)).toMatchObject({ status: 'available', previousStatus: 'error_backing-up' });
    await cloud.connect(bob, id);
    await expect(transact((tx) => forBackups.beginBackup(tx, bob, id, { force: false }))).rejects.toMatchObject(
      refused('bad-request', /^Invalid volume: Backing up an in-use volume must use the force flag\.$/),
    );
    await transact((tx) => forBackups.beginBackup(tx, bob, id, { force: true }));
    await transact((tx) => forBackups.endBackup(tx, id, 'done'));
    expect((await cloud.volumes.get(bob, id)).status).toBe('in-use');
    await expect(transact((tx) => forBackups.beginRestore(tx, bob, id, { sizeGib: 1 }))).rejects.toMatchObject(
      refused('bad-request', /Volume to be restored to must be available/),
    );
    await cloud.disconnect(bob, id);
    await expect(transact((tx) => forBackups.beginRestore(tx, bob, id, { sizeGib: 2 }))).rejects.toMatchObject(
      refused('bad-request', /volume size 1 is too small to restore backup of size 2\./),
    );
    await transact((tx) => forBackups.beginRestore(tx, bob, id, { sizeGib: 1 }));
    await transact((tx) => forBackups.failRestore(tx, id, 'error_restoring'));
    expect((await cloud.volumes.get(bob, id)).status).toBe('error_restoring');
  });
});
