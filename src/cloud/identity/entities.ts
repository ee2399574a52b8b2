import type { JsonMap, Timestamp } from '../database/service.ts';
import type { Owned, Reference } from './token.ts';

export interface Domain {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
}

export interface Project {
  readonly id: string;
  readonly domainId: string;
  /** The domain's id for a project at the top. */
  readonly parentId: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  /** Attributes that Identity keeps without knowing them. */
  readonly extra: JsonMap;
}

export interface User {
  readonly id: string;
  readonly domainId: string;
  readonly name: string;
  readonly enabled: boolean;
  readonly defaultProjectId: string | null;
  readonly extra: JsonMap;
}

export interface Role {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
}

export type GrantTarget =
  | { readonly kind: 'project'; readonly id: string }
  | { readonly kind: 'domain'; readonly id: string }
  | { readonly kind: 'system' };

export interface Grant {
  readonly userId: string;
  readonly roleId: string;
  readonly target: GrantTarget;
}

export interface ApplicationCredential {
  readonly id: string;
  readonly userId: string;
  readonly projectId: string;
  readonly name: string;
  readonly description: string | null;
  readonly roleIds: readonly string[];
  readonly unrestricted: boolean;
  readonly expiresAt: Timestamp | null;
}

export const defaultDomainId = 'default';

/** The roles that the policy table speaks of. They exist from the first start on and cannot be renamed or deleted. */
export const builtInRoleNames = ['admin', 'member', 'reader'] as const;

/** The policy table counts on these. */
export const isBuiltIn = (role: Role): boolean => builtInRoleNames.some((name) => name === role.name);

/** Who has one role also has the other. */
export interface Implication {
  readonly prior: Role;
  readonly implied: Role;
}

export interface AssignmentFilter {
  readonly userId?: string | undefined;
  readonly roleId?: string | undefined;
  /** With `includeSubtree`, also projects below it. */
  readonly projectId?: string | undefined;
  readonly includeSubtree?: boolean | undefined;
  readonly domainId?: string | undefined;
  readonly system?: boolean | undefined;
  /** Implied roles count as assigned. */
  readonly effective?: boolean | undefined;
}

/** One line of the list, with the names for those who asked for them. */
export interface Assignment {
  readonly user: Owned;
  readonly role: Reference;
  /** The role that was really assigned, when this one is implied. */
  readonly priorRoleId: string | null;
  readonly project: Owned | null;
  readonly domain: Reference | null;
}
