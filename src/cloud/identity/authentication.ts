/**
 * From what somebody knows (a password, a token, an application credential's secret) to a token.
 *
 * The token's row is written first and then read back by the same statement that validates tokens: one rule decides what is good, at
 * login and on every later request. Whatever is wrong, the answer is the same and takes the same time.
 */
import { randomBytes } from 'node:crypto';
import { type Clock, dateOf, timestampOf } from '../../lib/clock.ts';
import { forbidden, type ProductError, unauthorized } from '../../lib/errors.ts';
import type { Database, Tx } from '../database/service.ts';
import { type CredentialKey, findCredentialLogin } from './application-credential-store.ts';
import {
  type DomainKey,
  findDomain,
  findLogin,
  findProject,
  listDomains,
  listProjects,
  lockPasswordHash,
  type UserKey,
} from './directory-store.ts';
import type { GrantTarget } from './entities.ts';
import type { CheckPassword } from './lockout.ts';
import type { Passwords } from './passwords.ts';
import { hashOfToken, newToken, type ValidToken } from './token.ts';
import { insertToken, validToken, validTokenIn } from './token-store.ts';

export type Proof =
  | { readonly method: 'password'; readonly user: UserKey; readonly password: string }
  | { readonly method: 'token'; readonly token: string }
  | { readonly method: 'application_credential'; readonly credential: CredentialKey; readonly secret: string };

export type ProjectKey = { readonly id: string } | { readonly name: string; readonly domain: DomainKey };

export type AskedScope =
  | { readonly kind: 'default' }
  | { readonly kind: 'unscoped' }
  | { readonly kind: 'project'; readonly project: ProjectKey }
  | { readonly kind: 'domain'; readonly domain: DomainKey }
  | { readonly kind: 'system' };

export interface IssuedToken {
  readonly secret: string;
  readonly token: ValidToken;
}

/** What one proof shows. All proofs of a request have to show the same user. */
interface Shown {
  readonly userId: string;
  readonly methods: readonly string[];
  /** When the proof is a password: the hash that it matched. */
  readonly passwordHash: string | null;
  readonly parent: ValidToken | undefined;
  readonly credential: { readonly id: string; readonly projectId: string } | undefined;
}

const refused = (): ProductError => unauthorized('The request you have made requires authentication.');

export interface AuthenticationDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly passwords: Passwords;
  readonly checkPassword: CheckPassword;
  readonly lifetimeMs: number;
}

export type Authenticate = (proofs: readonly Proof[], scope: AskedScope) => Promise<IssuedToken>;

export function createAuthenticate({ database, clock, passwords, checkPassword, lifetimeMs }: AuthenticationDeps): Authenticate {
  async function check(proof: Proof): Promise<Shown> {
    switch (proof.method) {
      case 'password':
        return checkUser(proof.user, proof.password);
      case 'token':
        return checkToken(proof.token);
      case 'application_credential':
        return checkCredential(proof.credential, proof.secret);
    }
  }

  async function checkUser(user: UserKey, password: string): Promise<Shown> {
    const login = await checkPassword(user, password);
    if (login === undefined) throw refused();
    return { userId: login.id, methods: ['password'], passwordHash: login.passwordHash, parent: undefined, credential: undefined };
  }

  async function checkToken(secret: string): Promise<Shown> {
    const hash = hashOfToken(secret);
    const parent = hash === undefined ? undefined : await validToken(database, hash, clock.nowText());
    if (parent === undefined) throw refused();
    // It would hand on more than the credential's owner meant to.
    if (parent.applicationCredential !== null) throw forbidden('A token of an application credential cannot be exchanged for another.');
    const methods = ['token', ...parent.methods.filter((method) => method !== 'token')];
    return { userId: parent.user.id, methods, passwordHash: null, parent, credential: undefined };
  }

  async function checkCredential(key: CredentialKey, secret: string): Promise<Shown> {
    const login = await findCredentialLogin(database.sql, key);
    const matches = await passwords.verify(secret, login?.secretHash);
    if (login === undefined || !matches) throw refused();
    const credential = { id: login.id, projectId: login.projectId };
    return { userId: login.userId, methods: ['application_credential'], passwordHash: null, parent: undefined, credential };
  }

  /** Undefined when the scope is worth nothing to this user. */
  async function issue(shown: Shown, target: GrantTarget | undefined): Promise<IssuedToken | undefined> {
    const secret = newToken();
    const hash = hashOfToken(secret);
    if (hash === undefined) throw new Error('a new token does not look like one');
    const now = clock.now();
    const expires = new Date(now.getTime() + lifetimeMs);
    const { parent } = shown;
    const row = {
      hash,
      userId: shown.userId,
      target,
      applicationCredentialId: shown.credential?.id ?? null,
      methods: shown.methods,
      // The second id is that of the first token in the chain.
      auditIds: [newAuditId(), ...(parent === undefined ? [] : parent.auditIds.slice(-1))],
      issuedAt: timestampOf(now),
      // Exchanging a token must not make anybody's session longer.
      expiresAt: timestampOf(parent === undefined || dateOf(parent.expiresAt) > expires ? expires : dateOf(parent.expiresAt)),
    };
    return withdrawable(database, async (tx) => {
      // A password that was changed since it was checked opens nothing any more.
      const hashNow = await lockPasswordHash(tx.sql, shown.userId);
      if (hashNow === undefined || (shown.passwordHash !== null && shown.passwordHash !== hashNow)) return undefined;
      await insertToken(tx.sql, row);
      const token = await validTokenIn(tx.sql, hash, row.issuedAt);
      return token === undefined ? undefined : { secret, token };
    });
  }

  async function targetOf(scope: AskedScope): Promise<GrantTarget | undefined> {
    switch (scope.kind) {
      case 'project': {
        const id = await projectIdOf(database, scope.project);
        if (id === undefined) throw refused();
        return { kind: 'project', id };
      }
      case 'domain': {
        const id = await domainIdOf(database, scope.domain);
        if (id === undefined) throw refused();
        return { kind: 'domain', id };
      }
      case 'system':
        return { kind: 'system' };
      default:
        return undefined;
    }
  }

  async function issueByDefault(shown: Shown): Promise<IssuedToken | undefined> {
    const login = await findLogin(database.sql, { id: shown.userId });
    const projectId = login?.defaultProjectId ?? null;
    if (projectId !== null && (await projectIdOf(database, { id: projectId })) !== undefined) {
      const issued = await issue(shown, { kind: 'project', id: projectId });
      if (issued !== undefined) return issued;
    }
    return issue(shown, undefined);
  }

  return async (proofs, scope) => {
    const shown = await checkAll(proofs, check);
    const issued = await issueFor(shown);
    if (issued === undefined) throw refused();
    return issued;

    async function issueFor(who: Shown): Promise<IssuedToken | undefined> {
      if (who.credential !== undefined) return issue(who, { kind: 'project', id: who.credential.projectId });
      if (scope.kind === 'default') return issueByDefault(who);
      return issue(who, await targetOf(scope));
    }
  };
}

async function checkAll(proofs: readonly Proof[], check: (proof: Proof) => Promise<Shown>): Promise<Shown> {
  const shown: Shown[] = [];
  for (const proof of proofs) shown.push(await check(proof));
  const [first] = shown;
  if (first === undefined || shown.some(({ userId }) => userId !== first.userId)) throw refused();
  return {
    userId: first.userId,
    methods: [...new Set(shown.flatMap(({ methods }) => methods))],
    passwordHash: shown.find(({ passwordHash }) => passwordHash !== null)?.passwordHash ?? null,
    parent: shown.find(({ parent }) => parent !== undefined)?.parent,
    credential: shown.find(({ credential }) => credential !== undefined)?.credential,
  };
}

/** A transaction that leaves nothing behind when `work` comes back empty-handed. */
async function withdrawable<T>(database: Database, work: (tx: Tx) => Promise<T | undefined>): Promise<T | undefined> {
  const withdrawn = new Error('nothing to keep');
  try {
    return await database.transact(async (tx) => {
      const result = await work(tx);
      if (result === undefined) throw withdrawn;
      return result;
    });
  } catch (error) {
    if (error === withdrawn) return undefined;
    throw error;
  }
}

async function domainIdOf({ sql }: Database, key: DomainKey): Promise<string | undefined> {
  if ('id' in key) return (await findDomain(sql, key.id))?.id;
  return (await listDomains(sql, { name: key.name }))[0]?.id;
}

async function projectIdOf(database: Database, key: ProjectKey): Promise<string | undefined> {
  if ('id' in key) return (await findProject(database.sql, key.id))?.id;
  const domainId = await domainIdOf(database, key.domain);
  if (domainId === undefined) return undefined;
  return (await listProjects(database.sql, { domainId, name: key.name }))[0]?.id;
}

const newAuditId = (): string => randomBytes(16).toString('base64url');
