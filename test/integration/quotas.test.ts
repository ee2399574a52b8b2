import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Tx } from '../../src/cloud/database/service.ts';
import type { Caller } from '../../src/cloud/identity/caller.ts';
import { createQuotas, type Quotas } from '../../src/cloud/quotas/service.ts';
import { newId } from '../../src/lib/ids.ts';
import { type TestDatabase, testDatabase } from '../support/database.ts';

const caller: Caller = { userId: 'u', userName: 'u', projectId: 'p', roles: ['member'], isAdmin: false, requestId: 'req-1' };
const admin: Caller = { ...caller, isAdmin: true };

let held: TestDatabase;
let quotas: Quotas;

beforeEach(async () => {
  held = await testDatabase({ poolMax: 20 });
  quotas = createQuotas({ database: held.database });
});

afterEach(() => held.drop());

async function defaultType(tx: Tx): Promise<string> {
  return (await tx.sql.selectFrom('volume_types').select('id').executeTakeFirstOrThrow()).id;
}

async function addVolume(tx: Tx, sizeGib: number): Promise<string> {
  const id = newId();
  const volume_type_id = await defaultType(tx);
  await tx.sql
    .insertInto('volumes')
    .values({ id, project_id: 'p', user_id: 'u', status: 'creating', size_gib: sizeGib, availability_zone: 'nova', volume_type_id })
    .execute();
  return id;
}

async function addSnapshot(tx: Tx, volumeId: string, sizeGib: number): Promise<void> {
  await tx.sql
    .insertInto('snapshots')
    .values({ id: newId(), project_id: 'p', user_id: 'u', volume_id: volumeId, status: 'creating', size_gib: sizeGib })
    .execute();
}

const create = (sizeGib: number): Promise<string> =>
  held.database.transact(async (tx) => {
    await quotas.reserve(tx, 'p', { volumes: 1, gigabytes: sizeGib, per_volume_gigabytes: sizeGib, volumes___DEFAULT__: 1 });
    return addVolume(tx, sizeGib);
  });

const reserve = (wanted: Record<string, number>): Promise<void> => held.database.transact((tx) => quotas.reserve(tx, 'p', wanted));

describe('a reservation', () => {
  test('lets exactly as many through as the limit allows when twenty come at once', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => create(1)));
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused).toHaveLength(10);
    for (const { reason } of refused) {
      expect(reason).toMatchObject({
        kind: 'over-limit',
        message: "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.",
      });
    }
    expect((await quotas.usageOf(caller, 'p')).volumes).toEqual({ limit: 10, inUse: 10 });
  });

  test('counts snapshots in gigabytes, and names sizes before counts', async () => {
    const volumeId = await create(600);
    await held.database.transact((tx) => addSnapshot(tx, volumeId, 399));
    const wanted = { volumes: 100, gigabytes: 2 };
    await expect(reserve(wanted)).rejects.toThrow(
      'VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested 2G, quota is 1000G and 999G has been consumed.',
    );
    await reserve({ gigabytes: 1 });
  });

  test('is refused in the words of Block Storage for each kind of limit', async () => {
    await quotas.setLimits(admin, 'p', {
      snapshots: 0,
      backups: 0,
      backup_gigabytes: 0,
      per_volume_gigabytes: 5,
      gigabytes___DEFAULT__: 3,
    });
    const refusals: [Record<string, number>, string][] = [
      [{ snapshots: 1 }, 'SnapshotLimitExceeded: Maximum number of snapshots allowed (0) exceeded'],
      [{ backups: 1 }, 'BackupLimitExceeded: Maximum number of backups allowed (0) exceeded'],
      [
        { backups: 1, backup_gigabytes: 1 },
        'VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. Requested 1G, quota is 0G and 0G has been consumed.',
      ],
      [{ per_volume_gigabytes: 6 }, 'VolumeSizeExceedsLimit: Requested volume size 6G is larger than maximum allowed limit 5G.'],
      [
        { gigabytes___DEFAULT__: 4 },
        'VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes___DEFAULT__ quota. Requested 4G, quota is 3G and 0G has been consumed.',
      ],
    ];
    for (const [wanted, message] of refusals) await expect(reserve(wanted)).rejects.toMatchObject({ kind: 'over-limit', message });
  });

  test('in one project does not wait for one in another', async () => {
    const slow = gate();
    const holding = held.database.transact(async (tx) => {
      await quotas.reserve(tx, 'p', { volumes: 1 });
      slow.arrive();
      await slow.released;
    });
    await slow.arrived;
    await held.database.transact((tx) => quotas.reserve(tx, 'q', { volumes: 1 }));
    slow.release();
    await holding;
  });
});

describe('limits', () => {
  test('are the built-in ones until somebody sets others', async () => {
    const builtIn = {
      volumes: 10,
      snapshots: 10,
      gigabytes: 1000,
      backups: 10,
      backup_gigabytes: 1000,
      per_volume_gigabytes: -1,
      groups: 10,
    };
    const perType = { volumes___DEFAULT__: -1, gigabytes___DEFAULT__: -1, snapshots___DEFAULT__: -1 };
    expect(await quotas.limitsOf(caller, 'p')).toEqual({ ...builtIn, ...perType });
    await quotas.setClassLimits(admin, 'default', { volumes: 20, backups: 5 });
    await quotas.setLimits(admin, 'p', { volumes: 30 });
    expect(await quotas.limitsOf(caller, 'p')).toMatchObject({ volumes: 30, backups: 5, snapshots: 10 });
    await quotas.resetLimits(admin, 'p');
    expect(await quotas.limitsOf(caller, 'p')).toEqual(await quotas.defaults(caller, 'p'));
  });

  test('cannot go below what is in use, unless to unlimited, and nothing of such a request stays', async () => {
    await create(7);
    const message =
      'Quota gigabytes limit must be equal or greater than existing resources. Current usage is 7 and the requested limit is 6.';
    await expect(quotas.setLimits(admin, 'p', { volumes: 99, gigabytes: 6 })).rejects.toMatchObject({ kind: 'bad-request', message });
    expect((await quotas.limitsOf(caller, 'p')).volumes).toBe(10);
    expect(await quotas.setLimits(admin, 'p', { gigabytes: -1 })).toMatchObject({ gigabytes: -1 });
    await create(5_000);
  });

  test('have known names and whole numbers', async () => {
    await expect(quotas.setLimits(admin, 'p', { volumes: 1, cores: 2, ram: 3 })).rejects.toMatchObject({
      kind: 'bad-request',
      message: 'Invalid input received: Bad key(s) in quota set: cores, ram',
    });
    for (const volumes of [-2, 1.5, 2 ** 31])
      await expect(quotas.setLimits(admin, 'p', { volumes })).rejects.toMatchObject({ kind: 'bad-request' });
  });

  test('are changed by admins only, and seen by their own project only', async () => {
    await expect(quotas.setLimits(caller, 'p', { volumes: 99 })).rejects.toMatchObject({ kind: 'forbidden' });
    await expect(quotas.limitsOf(caller, 'q')).rejects.toMatchObject({ kind: 'forbidden' });
  });
});

/** One side arrives and waits, the other lets it go. */
function gate(): { arrive: () => void; arrived: Promise<void>; release: () => void; released: Promise<void> } {
  const arrival = Promise.withResolvers<void>();
  const departure = Promise.withResolvers<void>();
  return { arrive: arrival.resolve, arrived: arrival.promise, release: departure.resolve, released: departure.promise };
}
