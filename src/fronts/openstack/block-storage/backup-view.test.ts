import { describe, expect, test } from 'vitest';
import type { Backup } from '../../../cloud/backups/backup.ts';
import type { Caller } from '../../../cloud/identity/caller.ts';
import { microversion } from '../shared/microversion.ts';
import { parseBackupList } from './backup-list-query.ts';
import { backupDetail, backupSummary } from './backup-view.ts';

const member: Caller = { userId: 'u1', userName: 'ada', projectId: 'p1', roles: ['member'], isAdmin: false, requestId: 'req-1' };
const admin: Caller = { ...member, roles: ['admin'], isAdmin: true };

const backup: Backup = {
  id: '5c0f7f3e-6a7a-4c5a-9f2b-0f0e6f4f9d01',
  projectId: 'p1',
  userId: 'u1',
  volumeId: '11111111-2222-4333-8444-555555555555',
  snapshotId: null,
  parentId: '99999999-2222-4333-8444-555555555555',
  name: null,
  description: null,
  status: 'available',
  failReason: null,
  sizeGib: 1,
  objectCount: 2,
  container: 'default',
  availabilityZone: 'nova',
  metadata: { tier: 'gold' },
  volumeMeta: { name: null, description: null, bootable: false, metadata: {}, imageMetadata: {} },
  restoreVolumeId: null,
  restoreVolumeIds: [],
  domain: 'p',
  dataTimestamp: '2026-11-21T03:00:00.123456',
  repositoryId: null,
  session: null,
  root: null,
  pointId: null,
  createdAt: '2026-11-21T03:00:00.123456',
  updatedAt: null,
  dependentCount: 1,
};

const viewed = (caller: Caller, minor: number) =>
  backupDetail(backup, { caller, microversion: microversion(3, minor), linksTo: () => [{ rel: 'self', href: 'http://x' }] });

const baseFields = [
  'availability_zone',
  'container',
  'created_at',
  'data_timestamp',
  'description',
  'fail_reason',
  'has_dependent_backups',
  'id',
  'is_incremental',
  'links',
  'name',
  'object_count',
  'size',
  'snapshot_id',
  'status',
  'updated_at',
  'volume_id',
];

describe('a backup on the wire', () => {
  test('has exactly the base fields at 3.0, for an admin too', () => {
    expect(Object.keys(viewed(admin, 0)).sort()).toEqual(baseFields);
    expect(viewed(member, 0)).toMatchObject({
      is_incremental: true,
      has_dependent_backups: true,
      data_timestamp: '2026-11-21T03:00:00.123456',
    });
  });

  test('shows owner and user to admins, each from its version on', () => {
    expect(viewed(admin, 18)).toMatchObject({ 'os-backup-project-attr:project_id': 'p1' });
    expect(viewed(admin, 55)).not.toHaveProperty('user_id');
    expect(viewed(admin, 56)).toMatchObject({ user_id: 'u1' });
    expect(Object.keys(viewed(member, 70)).sort()).toEqual([...baseFields, 'metadata'].sort());
  });

  test('never names its parent', () => {
    expect(JSON.stringify(viewed(admin, 70))).not.toContain(backup.parentId);
  });

  test('is id, name and links in a summary', () => {
    const summary = backupSummary(backup, { caller: member, microversion: microversion(3, 70), linksTo: () => [] });
    expect(summary).toEqual({ id: backup.id, name: null, links: [] });
  });
});

describe('the query of a list', () => {
  const parse = (query: Record<string, string>, caller = member, minor = 0) => parseBackupList(query, caller, microversion(3, minor));

  test('drops strange filters of ordinary users before 3.31, and refuses them after', () => {
    expect(parse({ size: '1', status: 'error' })?.filters).toEqual([{ column: 'status', comparison: 'eq', value: 'error' }]);
    expect(() => parse({ size: '1', nose: 'x' }, member, 31)).toThrow('Invalid filters size, nose are found in query options.');
  });

  test('lets admins filter on every column; on none that exists nothing matches', () => {
    expect(parse({ size: '1' }, admin)?.filters).toEqual([{ column: 'size', comparison: 'eq', value: '1' }]);
    expect(parse({ nose: 'x' }, admin)).toBeUndefined();
    expect(parse({ created_at: 'yesterday' }, admin)).toBeUndefined();
    expect(parse({ 'name~': 'mon' }, admin, 34)?.filters).toEqual([{ column: 'name', comparison: 'like', value: 'mon' }]);
  });

  test('sorts by name from 3.37 on, by display_name always, and by the newest first when not asked', () => {
    expect(() => parse({ sort: 'name:asc' })).toThrow('Invalid sort key');
    expect(parse({ sort: 'name:asc' }, member, 37)?.sort[0]).toEqual({ column: 'name', direction: 'asc' });
    expect(parse({ sort: 'display_name:asc' })?.sort[0]).toEqual({ column: 'name', direction: 'asc' });
    expect(parse({})?.sort.map(({ column, direction }) => `${column} ${direction}`)).toEqual(['created_at desc', 'id desc']);
  });

  test('takes all_tenants as a boolean only, and counts from 3.45 on', () => {
    expect(parse({ all_tenants: 'True' })?.allProjects).toBe(true);
    expect(() => parse({ all_tenants: 'maybe' })).toThrow('all_tenants');
    expect(parse({ with_count: 'True' }, member, 44)?.withCount).toBe(false);
    expect(parse({ with_count: 'True' }, member, 45)?.withCount).toBe(true);
  });
});
