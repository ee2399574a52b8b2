import type { FastifyRequest } from 'fastify';
import type { Owned, Scope, ValidToken } from '../../../cloud/identity/token.ts';
import { queryOf } from '../shared/paging.ts';
import type { IdentityFront } from './context.ts';
import { catalogFor } from './token-catalog.ts';

/** The body that describes a token, when it is issued and when it is validated. */
export async function tokenView(token: ValidToken, request: FastifyRequest, front: IdentityFront): Promise<object> {
  const withCatalog = token.scope.kind !== 'unscoped' && queryOf(request).nocatalog === undefined;
  return {
    token: {
      methods: token.methods,
      user: { ...ownedView(token.user), password_expires_at: null },
      audit_ids: token.auditIds,
      issued_at: `${token.issuedAt}Z`,
      expires_at: `${token.expiresAt}Z`,
      ...scopeView(token.scope),
      ...(token.scope.kind === 'unscoped' ? {} : { roles: token.roles.map(({ id, name }) => ({ id, name })) }),
      ...(withCatalog ? { catalog: await catalogFor(token, request, front) } : {}),
      ...(token.applicationCredential === null ? {} : { application_credential: credentialView(token.applicationCredential) }),
    },
  };
}

const credentialView = ({ id, name, restricted, accessRules }: NonNullable<ValidToken['applicationCredential']>) => ({
  id,
  name,
  restricted,
  ...(accessRules.length === 0 ? {} : { access_rules: accessRules }),
});

const ownedView = ({ id, name, domain }: Owned) => ({ id, name, domain: { id: domain.id, name: domain.name } });

function scopeView(scope: Scope): object {
  switch (scope.kind) {
    case 'project':
      return { project: ownedView(scope.project), is_domain: false };
    case 'domain':
      return { domain: { id: scope.domain.id, name: scope.domain.name } };
    case 'system':
      return { system: { all: true } };
    case 'unscoped':
      return {};
  }
}
