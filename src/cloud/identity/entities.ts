import type { JsonMap, Timestamp } from '../database/service.ts';

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
