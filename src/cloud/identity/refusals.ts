/** Identity's own wordings, which clients' tests compare. */
import { badRequest, conflict, forbidden, notFound, type ProductError } from '../../lib/errors.ts';

export type Noun =
  | 'domain'
  | 'project'
  | 'project tag'
  | 'user'
  | 'group'
  | 'role'
  | 'application_credential'
  | 'access_rule'
  | 'credential'
  | 'service'
  | 'endpoint'
  | 'region'
  | 'endpoint_group'
  | 'policy'
  | 'consumer'
  | 'registered_limit'
  | 'limit';

const spoken: Partial<Record<Noun, string>> = {
  application_credential: 'Application Credential',
  access_rule: 'Access Rule',
  endpoint_group: 'Endpoint Group',
  consumer: 'Consumer',
  registered_limit: 'registered limit for',
  limit: 'limit for',
};

export function couldNotFind(noun: Noun, id: string): ProductError {
  const name = spoken[noun] ?? noun;
  return notFound(`Could not find ${name}${name.endsWith(' for') ? '' : ':'} ${id}.`);
}

export const duplicate = (noun: Noun, name: string, domainId?: string): ProductError => {
  const where = domainId === undefined ? '' : ` at domain ID ${domainId}`;
  return conflict(`Conflict occurred attempting to store ${noun} - Duplicate entry found with name ${name}${where}.`);
};

export const notAuthorised = (action: string): ProductError =>
  forbidden(`You are not authorized to perform the requested action: ${action}.`);

/** Of things with the option `immutable`, and of those that the service itself counts on. */
export const immutable = (verb: 'update' | 'delete', noun: Noun, id: string): ProductError =>
  forbidden(`Unable to ${verb} immutable ${noun} resource: \`${id}\`. Set resource option "immutable" to false first.`);

export const builtIn = (verb: 'update' | 'delete', noun: Noun, id: string): ProductError =>
  forbidden(`Unable to ${verb} ${noun} ${id}: it is a part of this server.`);

/** The sentence for whatever is missing from a request, or is not what it says it is. */
export const expecting = (attribute: string, target: string): ProductError =>
  badRequest(
    `Expecting to find ${attribute} in ${target}. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.`,
  );

export const couldNotFindGrant = (roleId: string, granteeId: string, targetId: string): ProductError =>
  notFound(`Could not find role assignment with role: ${roleId}, user or group: ${granteeId}, project, domain, or system: ${targetId}.`);
