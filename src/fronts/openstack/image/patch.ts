/**
 * The two forms of a JSON patch that Image takes. Version 2.1: `{"op": "add", "path": "/name", "value": …}`; version 2.0, from an older draft:
 * `{"add": "/name", "value": …}`, where adding what is there already is a conflict.
 */
import type { ChangeOperation, ImageChange } from '../../../cloud/images/image.ts';
import { badRequest, forbidden } from '../../../lib/errors.ts';
import { attributeOf, checkPropertyName, isAttribute, refuseReadOnly, refuseReserved } from './attributes.ts';
import { parseImageKeys } from './schema.ts';

type Draft = 'v2.0' | 'v2.1';
type Operation = 'add' | 'remove' | 'replace';

const mediaTypes: Readonly<Record<string, Draft>> = {
  'application/openstack-images-v2.0-json-patch': 'v2.0',
  'application/openstack-images-v2.1-json-patch': 'v2.1',
};

export const patchMediaTypes: readonly string[] = Object.keys(mediaTypes).sort();

export function draftOf(contentType: string | undefined): Draft | undefined {
  return mediaTypes[contentType?.split(';', 1)[0]?.trim().toLowerCase() ?? ''];
}

const operations: readonly Operation[] = ['add', 'remove', 'replace'];

export function parsePatch(body: unknown, draft: Draft): ImageChange[] {
  if (body === undefined) throw badRequest('Body expected in request.');
  if (!Array.isArray(body)) throw badRequest('Request body must be a JSON array of operation objects.');
  return body.map((change) => parseChange(change, draft));
}

function parseChange(change: unknown, draft: Draft): ImageChange {
  if (typeof change !== 'object' || change === null || Array.isArray(change)) throw badRequest('Operations must be JSON objects.');
  const raw = change as Record<string, unknown>;
  const { op, path } = draft === 'v2.1' ? readNewer(raw) : readOlder(raw);
  const key = rootOf(op, path);
  const value = op === 'remove' ? undefined : memberValue(raw, op);
  refuseReadOnly(key);
  if (key === 'id') throw forbidden("Attribute 'id' is read-only.");
  refuseReserved(key);
  // The parser has no `__proto__` key, but a path can name it.
  if (op !== 'remove') parseImageKeys(Object.fromEntries([[key, value]]));
  return changeOf(op === 'add' && draft === 'v2.0' ? 'create' : op, key, value);
}

function changeOf(op: ChangeOperation, key: string, value: unknown): ImageChange {
  if (isAttribute(key)) return { kind: 'attribute', op, wireName: key, values: op === 'remove' ? {} : attributeOf(key, value) };
  checkPropertyName(key);
  return { kind: 'property', op, name: key, value: op === 'remove' ? '' : String(value) };
}

function readNewer(raw: Record<string, unknown>): { op: Operation; path: string } {
  const available = operations.join(', ');
  if (raw.op === undefined || raw.op === null) {
    throw badRequest(`Unable to find \`op\` in JSON Schema change. It must be one of the following: ${available}.`);
  }
  const op = operations.find((known) => known === raw.op);
  if (op === undefined) throw badRequest(`Invalid operation: \`${raw.op}\`. It must be one of the following: ${available}.`);
  if (raw.path === undefined) throw badRequest("Unable to find 'path' in JSON Schema change");
  return { op, path: pathText(raw.path) };
}

function readOlder(raw: Record<string, unknown>): { op: Operation; path: string } {
  const named = operations.filter((known) => Object.hasOwn(raw, known));
  const op = named[0];
  if (op === undefined || named.length > 1) {
    throw badRequest(
      `Operation objects must contain ${named.length > 1 ? 'only' : 'exactly'} one member named "add", "remove", or "replace".`,
    );
  }
  return { op, path: pathText(raw[op]) };
}

function pathText(path: unknown): string {
  if (typeof path !== 'string') throw badRequest(`Invalid JSON pointer for this resource: '${JSON.stringify(path)}'`);
  return path;
}

function memberValue(raw: Record<string, unknown>, op: Operation): unknown {
  if (!Object.hasOwn(raw, 'value')) throw badRequest(`Operation "${op}" requires a member named "value".`);
  return raw.value;
}

/** The one key that a path names. `/a~1b` names the key `a/b`. */
function rootOf(op: Operation, pointer: string): string {
  checkPointer(pointer);
  const parts = pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~').trim());
  const root = parts[0] ?? '';
  if (root === 'locations') {
    throw forbidden(`It's not allowed to ${op === 'replace' ? 'update' : op} locations if locations are invisible.`);
  }
  if (parts.length !== 1) throw badRequest(`Invalid JSON pointer for this resource: '/${parts.join('/')}'`);
  return root;
}

function checkPointer(pointer: string): void {
  if (!pointer.startsWith('/')) throw badRequest(`Pointer \`${pointer}\` does not start with "/".`);
  if (/\/\s*?\//.test(pointer.slice(1))) throw badRequest(`Pointer \`${pointer}\` contains adjacent "/".`);
  if (pointer.length > 1 && pointer.endsWith('/')) throw badRequest(`Pointer \`${pointer}\` end with "/".`);
  if (/~[^01]|~$/.test(pointer)) throw badRequest(`Pointer \`${pointer}\` contains "~" not part of a recognized escape sequence.`);
}
