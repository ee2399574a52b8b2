/** Reads the body of a login: what is wrong with its form is a 400, whatever is wrong with its content a 401. */
import Type, { type Static } from 'typebox';
import type { AskedScope, ProjectKey, Proof } from '../../../cloud/identity/authentication.ts';
import { badRequest, unauthorized } from '../../../lib/errors.ts';
import { authenticationRequired } from '../shared/authentication.ts';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import { expecting } from '../shared/keystone-error.ts';

const domainReference = Type.Object({ id: Type.Optional(Type.String()), name: Type.Optional(Type.String()) });
const ownedReference = Type.Object({
  id: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  domain: Type.Optional(domainReference),
});

const authRequest = Type.Object({
  auth: Type.Object({
    identity: Type.Object({
      methods: Type.Array(Type.String(), { minItems: 1, maxItems: 10 }),
      password: Type.Optional(Type.Object({ user: Type.Intersect([ownedReference, Type.Object({ password: Type.String() })]) })),
      token: Type.Optional(Type.Object({ id: Type.String() })),
      application_credential: Type.Optional(
        Type.Object({
          id: Type.Optional(Type.String()),
          name: Type.Optional(Type.String()),
          user: Type.Optional(ownedReference),
          secret: Type.String(),
        }),
      ),
    }),
    scope: Type.Optional(
      Type.Union([
        Type.String(),
        Type.Object({
          project: Type.Optional(ownedReference),
          domain: Type.Optional(domainReference),
          system: Type.Optional(Type.Object({ all: Type.Optional(Type.Boolean()) })),
          unscoped: Type.Optional(Type.Object({})),
        }),
        Type.Null(),
      ]),
    ),
  }),
});

type AuthBody = Static<typeof authRequest>['auth'];
type Identity = AuthBody['identity'];

export function parseAuthRequest(body: unknown): { proofs: Proof[]; scope: AskedScope } {
  const { auth } = parseBody(authRequest, body, keystoneBodyMessage);
  const proofs = [...new Set(auth.identity.methods)].map((method) => proofOf(method, auth.identity));
  const scope = scopeOf(auth.scope);
  if (scope.kind !== 'default' && proofs.some((proof) => proof.method === 'application_credential')) {
    throw badRequest('Application credentials cannot request a scope.');
  }
  return { proofs, scope };
}

function proofOf(method: string, identity: Identity): Proof {
  switch (method) {
    case 'password': {
      const user = required(identity.password, 'password', 'identity').user;
      return { method, user: ownedKey(user, 'user'), password: user.password };
    }
    case 'token':
      return { method, token: required(identity.token, 'token', 'identity').id };
    case 'application_credential': {
      const given = required(identity.application_credential, 'application_credential', 'identity');
      if (given.id !== undefined) return { method, credential: { id: given.id }, secret: given.secret };
      const name = required(given.name, 'name', 'application_credential');
      const user = ownedKey(required(given.user, 'user', 'application_credential'), 'user');
      return { method, credential: { name, user }, secret: given.secret };
    }
    default:
      throw unauthorized(authenticationRequired, `login method ${method} is not known`);
  }
}

function scopeOf(scope: AuthBody['scope']): AskedScope {
  if (scope === undefined || scope === null) return { kind: 'default' };
  if (typeof scope === 'string') {
    if (scope === 'unscoped') return { kind: 'unscoped' };
    throw badRequest(keystoneBodyMessage({ field: 'scope', path: 'scope', value: scope, why: `'${scope}' is not of type 'object'` }));
  }
  const asked = [scope.project, scope.domain, scope.system, scope.unscoped].filter((item) => item !== undefined);
  if (asked.length !== 1) throw badRequest(expecting('exactly one of project, domain, system or unscoped', 'scope'));
  if (scope.project !== undefined) return { kind: 'project', project: ownedKey(scope.project, 'project') };
  if (scope.domain !== undefined) return { kind: 'domain', domain: domainKey(scope.domain, 'domain') };
  if (scope.unscoped !== undefined) return { kind: 'unscoped' };
  if (scope.system?.all !== true) throw badRequest(expecting('all', 'system'));
  return { kind: 'system' };
}

function ownedKey(reference: Static<typeof ownedReference>, target: string): ProjectKey {
  if (reference.id !== undefined) return { id: reference.id };
  const name = required(reference.name, 'id or name', target);
  return { name, domain: domainKey(required(reference.domain, 'domain', target), 'domain') };
}

function domainKey(reference: Static<typeof domainReference>, target: string): { id: string } | { name: string } {
  return reference.id !== undefined ? { id: reference.id } : { name: required(reference.name, 'id or name', target) };
}

function required<T>(value: T | undefined, attribute: string, target: string): T {
  if (value === undefined) throw badRequest(expecting(attribute, target));
  return value;
}
