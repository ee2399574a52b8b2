import { expect, it } from 'vitest';
import type { Caller } from './caller.ts';
import { type Action, authorise, canSee, isAllowed } from './policy.ts';

const caller = (roles: readonly string[], projectId: string | null = 'mine'): Caller => ({
  userId: 'u',
  userName: 'u',
  projectId,
  roles,
  isAdmin: roles.includes('admin'),
  requestId: 'req-1',
});

const reader = caller(['reader']);
const member = caller(['member', 'reader']);
const admin = caller(['admin', 'member', 'reader'], 'elsewhere');
const mine = { projectId: 'mine' };

const allowed = (action: Action) => [reader, member, admin].map((who) => isAllowed(who, action, mine));

it('lets readers read, members write and admins do the rest', () => {
  expect(allowed('volume:get')).toEqual([true, true, true]);
  expect(allowed('volume:create')).toEqual([false, true, true]);
  expect(allowed('volume:reset_status')).toEqual([false, false, true]);
});

it('keeps a project from seeing what another one owns', () => {
  expect(canSee(member, { projectId: 'theirs' })).toBe(false);
  expect(isAllowed(member, 'volume:get', { projectId: 'theirs' })).toBe(false);
  expect(canSee(admin, { projectId: 'theirs' })).toBe(true);
});

it('gives nothing to a token without a project', () => {
  expect(isAllowed(caller(['member'], null), 'volume:get', mine)).toBe(false);
  expect(isAllowed(caller([], null), 'volume_type:list', { projectId: null })).toBe(false);
});

it('says which action was refused', () => {
  expect(() => authorise(reader, 'backup:delete', mine)).toThrow("Policy doesn't allow backup:delete to be performed.");
});
