import { createHash, randomBytes } from 'node:crypto';
import type { Timestamp } from '../../lib/clock.ts';
import type { Caller } from './caller.ts';

export interface Reference {
  readonly id: string;
  readonly name: string;
}

export interface Owned extends Reference {
  readonly domain: Reference;
}

/** What an application credential may be used for: a method and a pattern of paths of one service. */
export interface AccessRule {
  readonly id: string;
  /** A service type of the catalog. */
  readonly service: string;
  readonly method: string;
  /** `*` stands for one part of a path, `**` for any number of them, `{name}` for one part, too. */
  readonly path: string;
}

/** What a token is good for. */
export type Scope =
  | { readonly kind: 'unscoped' }
  | { readonly kind: 'project'; readonly project: Owned }
  | { readonly kind: 'domain'; readonly domain: Reference }
  | { readonly kind: 'system' };

/** A token that is good now: everything that Identity says about it. */
export interface ValidToken {
  readonly user: Owned;
  readonly scope: Scope;
  /** Includes the implied ones. */
  readonly roles: readonly Reference[];
  readonly methods: readonly string[];
  readonly auditIds: readonly string[];
  readonly issuedAt: Timestamp;
  readonly expiresAt: Timestamp;
  readonly applicationCredential:
    | (Reference & {
        readonly restricted: boolean;
        /** None: it may be used for everything. */
        readonly accessRules: readonly AccessRule[];
      })
    | null;
}

export function callerOf(token: ValidToken, requestId: string): Caller {
  const roles = token.roles.map((role) => role.name);
  return {
    userId: token.user.id,
    userName: token.user.name,
    projectId: token.scope.kind === 'project' ? token.scope.project.id : null,
    roles,
    isAdmin: roles.includes('admin'),
    requestId,
  };
}

/** The prefix lets secret scanners recognise a leaked token. */
const prefix = 'spt_';
const secretBytes = 32;

export const newToken = (): string => prefix + randomBytes(secretBytes).toString('base64url');

/**
 * What is stored and looked up. A plain hash is enough: the token is 256 random bits, so there is nothing to guess; and looking up by
 * hash leaks no timing of the token itself. Undefined for texts that no token looks like, which saves the query.
 */
export function hashOfToken(token: string): Buffer | undefined {
  if (token.length !== prefix.length + 43 || !token.startsWith(prefix)) return undefined;
  return createHash('sha256').update(token).digest();
}
