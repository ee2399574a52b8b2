import type { JsonMap, Timestamp } from '../database/service.ts';
import type { AccessRule, Owned, Reference } from './token.ts';

export interface Domain {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  /** Neither changed nor deleted until this is taken back. */
  readonly immutable: boolean;
  /** Attributes that Identity keeps without knowing them. */
  readonly extra: JsonMap;
}

export interface Project {
  readonly id: string;
  readonly domainId: string;
  /** The domain's id for a project at the top. */
  readonly parentId: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  readonly immutable: boolean;
  /** Attributes that Identity keeps without knowing them, and the tags. */
  readonly extra: JsonMap;
}

/** What a request for projects may meet: clients may address each domain as a project, too. */
export type AnyProject = Project | Domain;
export const isProject = (found: AnyProject): found is Project => 'domainId' in found;

export interface User {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  readonly enabled: boolean;
  readonly defaultProjectId: string | null;
  readonly options: UserOptions;
  readonly extra: JsonMap;
}

/** Which rules do not count for a user. Passwords do not expire here, so what is said of that is only kept. */
export const userOptionNames = [
  'ignore_lockout_failure_attempts',
  'lock_password',
  'ignore_password_expiry',
  'ignore_change_password_upon_first_use',
  'ignore_user_inactivity',
] as const;
export type UserOptions = { readonly [Name in (typeof userOptionNames)[number]]?: boolean };
/** Null takes an option away. */
export type UserOptionChanges = { readonly [Name in (typeof userOptionNames)[number]]?: boolean | null };

export interface Group {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  readonly description: string;
  readonly extra: JsonMap;
}

export interface Role {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  /** One of a domain counts for nothing by itself: it stands for the roles that it implies. */
  readonly domainId: string | null;
  readonly immutable: boolean;
}

export type GrantTarget =
  | { readonly kind: 'project'; readonly id: string }
  | { readonly kind: 'domain'; readonly id: string }
  | { readonly kind: 'system' };

export type Grantee = { readonly userId: string } | { readonly groupId: string };

export type Grant = Grantee & {
  readonly roleId: string;
  readonly target: GrantTarget;
  /** Counts for every project below the target, and not for the target itself. */
  readonly inherited?: boolean | undefined;
};

export interface ApplicationCredential {
  readonly id: string;
  readonly userId: string;
  readonly projectId: string;
  readonly name: string;
  readonly description: string | null;
  readonly roleIds: readonly string[];
  readonly accessRules: readonly AccessRule[];
  readonly unrestricted: boolean;
  readonly expiresAt: Timestamp | null;
}

export const defaultDomainId = 'default';

/** The roles that the policy table speaks of. They exist from the first start on and cannot be renamed or deleted. */
export const builtInRoleNames = ['admin', 'member', 'reader'] as const;

/** The policy table counts on these. */
export const isBuiltIn = (role: Role): boolean => role.domainId === null && builtInRoleNames.some((name) => name === role.name);

/** Who has one role also has the other. */
export interface Implication {
  readonly prior: Role;
  readonly implied: Role;
}

export interface AssignmentFilter {
  readonly userId?: string | undefined;
  readonly groupId?: string | undefined;
  readonly roleId?: string | undefined;
  /** With `includeSubtree`, also projects below it. */
  readonly projectId?: string | undefined;
  readonly includeSubtree?: boolean | undefined;
  readonly domainId?: string | undefined;
  readonly system?: boolean | undefined;
  /** Only those that the projects below inherit. */
  readonly inherited?: boolean | undefined;
  /** What counts in the end: members instead of groups, projects that inherit, and implied roles. */
  readonly effective?: boolean | undefined;
}

export interface RoleReference extends Reference {
  readonly domain: Reference | null;
}

/** One line of the list, with the names for those who asked for them. */
export interface Assignment {
  readonly user: Owned | null;
  readonly group: Owned | null;
  readonly role: RoleReference;
  readonly project: Owned | null;
  readonly domain: Reference | null;
  readonly inherited: boolean;
  /** Of an effective one: what was really assigned. */
  readonly source: {
    readonly roleId: string;
    /** The group that the user is a member of. */
    readonly groupId: string | null;
    /** Where an inherited one was made. */
    readonly projectId: string | null;
    readonly domainId: string | null;
  };
}
