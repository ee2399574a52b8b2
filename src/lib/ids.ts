import { randomBytes, randomUUID } from 'node:crypto';

/** A version-4 UUID: the id of every OpenStack resource, saga and layer. */
export function newId(): string {
  return randomUUID();
}

/** 32 hex digits: how identity names users, projects and credentials. */
export function newHexId(): string {
  return randomBytes(16).toString('hex');
}

/** In small letters, as `newId` writes them: PostgreSQL would take capitals for the same id, and whatever compares texts for another. */
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Ask before a text from outside reaches a `uuid` column: PostgreSQL answers anything else with an error, not with no rows. */
export function isUuid(text: string): boolean {
  return uuidPattern.test(text);
}
