/** Identity's own wordings, which clients' tests compare. */
import { conflict, forbidden, notFound, type ProductError } from '../../lib/errors.ts';

type Noun = 'domain' | 'project' | 'user' | 'role' | 'application_credential' | 'service' | 'endpoint' | 'region';

const spoken: Partial<Record<Noun, string>> = { application_credential: 'Application Credential' };

export const couldNotFind = (noun: Noun, id: string): ProductError => notFound(`Could not find ${spoken[noun] ?? noun}: ${id}.`);

export const duplicate = (noun: Noun, name: string, domainId?: string): ProductError => {
  const where = domainId === undefined ? '' : ` at domain ID ${domainId}`;
  return conflict(`Conflict occurred attempting to store ${noun} - Duplicate entry found with name ${name}${where}.`);
};

export const notAuthorised = (action: string): ProductError =>
  forbidden(`You are not authorized to perform the requested action: ${action}.`);

export const couldNotFindGrant = (roleId: string, userId: string, targetId: string): ProductError =>
  notFound(`Could not find role assignment with role: ${roleId}, user or group: ${userId}, project, domain, or system: ${targetId}.`);
