import { randomBytes, randomUUID } from 'node:crypto';

/** A version-4 UUID: the id of every OpenStack resource, saga and layer. */
export function newId(): string {
  return randomUUID();
}

/** 32 hex digits: how identity names users, projects and credentials. */
export function newHexId(): string {
  return randomBytes(16).toString('hex');
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Ask before a text from outside reaches a `uuid` column: PostgreSQL answers anything else with an error, not with no rows. */
export function isUuid(text: string): boolean {
  return uuidPattern.test(text);
}
