import { describe, expect, it } from 'vitest';
import { systemClock } from '../../lib/clock.ts';
import { authoriseDirectory, type DirectoryAction, type DirectoryTarget, isAllowedInDirectory } from './directory-policy.ts';
import type { ValidToken } from './token.ts';

const domain = (id: string) => ({ id, name: id });
const scopes = {
  project: { kind: 'project', project: { id: 'project', name: 'project', domain: domain('home') } },
  domain: { kind: 'domain', domain: domain('home') },
  system: { kind: 'system' },
  nothing: { kind: 'unscoped' },
} as const satisfies Record<string, ValidToken['scope']>;

const asker = (role: string, scope: keyof typeof scopes): ValidToken => ({
  user: { id: 'ada', name: 'ada', domain: domain('home') },
  scope: scopes[scope],
  roles: scope === 'nothing' ? [] : [{ id: role, name: role }],
  methods: ['password'],
  auditIds: [],
  issuedAt: systemClock.nowText(),
  expiresAt: systemClock.nowText(),
  applicationCredential: null,
});

const askers = {
  'admin of a project': asker('admin', 'project'),
  'reader of the system': asker('reader', 'system'),
  'reader of a domain': asker('reader', 'domain'),
  'reader of a project': asker('reader', 'project'),
  'member of a project': asker('member', 'project'),
  nobody: asker('', 'nothing'),
};

/** Who may. */
const may = (action: DirectoryAction, target?: DirectoryTarget): string[] =>
  Object.entries(askers).flatMap(([name, token]) => (isAllowedInDirectory(token, action, target) ? [name] : []));
const everybody = Object.keys(askers);

describe('a role counts where it was given', () => {
  it('reads everything when it is of the system', () => {
    expect(may('list_users')).toEqual(['admin of a project', 'reader of the system']);
    expect(may('list_services')).toEqual(['admin of a project', 'reader of the system']);
  });

  it('reads what is in its domain', () => {
    expect(may('list_users', { domainId: 'home' })).toEqual(['admin of a project', 'reader of the system', 'reader of a domain']);
    expect(may('list_users', { domainId: 'elsewhere' })).toEqual(['admin of a project', 'reader of the system']);
  });

  it('changes nothing unless it is admin', () => {
    expect(may('update_user', { domainId: 'home', userId: 'ada' })).toEqual(['admin of a project']);
    expect(may('create_grant', { domainId: 'home' })).toEqual(['admin of a project']);
  });
});

describe('what is one’s own', () => {
  it('is seen by the user, whatever the token is for', () => {
    expect(may('get_user', { userId: 'ada' })).toEqual(everybody);
    expect(may('get_user', { userId: 'bob' })).toEqual(['admin of a project', 'reader of the system']);
  });

  it('is a project for whoever has a token for it', () => {
    const insiders = ['admin of a project', 'reader of the system', 'reader of a project', 'member of a project'];
    expect(may('get_project', { projectId: 'project', domainId: 'elsewhere' })).toEqual(insiders);
    expect(may('get_project', { projectId: 'another', domainId: 'elsewhere' })).toEqual(['admin of a project', 'reader of the system']);
  });

  it('is a domain for whoever has a token for it or for a project in it', () => {
    expect(may('get_domain', { domainId: 'home' })).toEqual(everybody.filter((name) => name !== 'nobody'));
    expect(may('get_domain', { domainId: 'elsewhere' })).toEqual(['admin of a project', 'reader of the system']);
  });

  it('is made by nobody else', () => {
    expect(may('create_application_credential', { userId: 'ada' })).toEqual(everybody);
    expect(may('create_application_credential', { userId: 'bob' })).toEqual([]);
  });

  it('is nothing when there is no such thing', () => {
    expect(may('get_credential')).toEqual(['admin of a project', 'reader of the system']);
    expect(may('get_domain')).toEqual(['admin of a project', 'reader of the system']);
  });
});

it('shows regions to everybody', () => {
  expect(may('list_regions')).toEqual(everybody);
});

it('says which action was refused', () => {
  expect(() => authoriseDirectory(askers.nobody, 'list_users')).toThrow('identity:list_users');
});
