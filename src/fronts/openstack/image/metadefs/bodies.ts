/** From the bodies of metadata definitions to what the catalogue takes. Their shapes were checked by the schemas. */
import type { JsonMap } from '../../../../cloud/database/schema.ts';
import type { NewAssociation, NewItem, NewNamespace } from '../../../../cloud/images/metadefs/service.ts';
import { badRequest } from '../../../../lib/errors.ts';
import { characterCount } from '../../shared/body.ts';
import { type Fields, parseMetadef } from './schemas.ts';

const nameLengthMax = 255;

/** Said by the service, ignored when a client says it. */
const readOnly: ReadonlySet<string> = new Set(['created_at', 'updated_at', 'self', 'schema']);

export function parseNamespace(body: unknown): NewNamespace {
  const fields = parseMetadef('namespace', body);
  const properties = Object.entries((fields.properties ?? {}) as Record<string, Fields>);
  for (const [name] of properties) checkItemName('property', name);
  return {
    namespace: stated(fields, 'namespace'),
    displayName: optional(fields, 'display_name'),
    description: optional(fields, 'description'),
    visibility: (fields.visibility as NewNamespace['visibility'] | undefined) ?? 'private',
    protected: (fields.protected as boolean | undefined) ?? false,
    owner: optional(fields, 'owner') ?? undefined,
    associations: distinct('resource type associations', listOf(fields, 'resource_type_associations').map(associationOf), 'resourceType'),
    items: {
      object: distinct('objects', listOf(fields, 'objects').map(itemOf), 'name'),
      property: properties.map(([name, definition]) => ({ name, definition: definition as JsonMap })),
      tag: distinct('tags', listOf(fields, 'tags').map(itemOf), 'name'),
    },
  };
}

export const parseAssociation = (body: unknown): NewAssociation => associationOf(parseMetadef('association', body));

export const parseItem = (kind: 'object' | 'property' | 'tag', body: unknown): NewItem => itemOf(parseMetadef(kind, body));

/** Of names that stand where the schema sees none: in a path, or as a key. */
export function checkItemName(kind: 'property' | 'tag', name: string): void {
  if (characterCount(name) > nameLengthMax) throw badRequest(`Provided object does not match schema '${kind}': '${name}' is too long`);
  if (name === '') throw badRequest(`Provided object does not match schema '${kind}': '' is too short`);
}

/** Names of tags. */
export function parseTags(body: unknown): string[] {
  const tags = listOf(parseMetadef('tags', body), 'tags').map(itemOf);
  return distinct('tags', tags, 'name').map((tag) => tag.name);
}

function associationOf(fields: Fields): NewAssociation {
  return {
    resourceType: stated(fields, 'name'),
    propertiesTarget: optional(fields, 'properties_target'),
    prefix: optional(fields, 'prefix'),
  };
}

function itemOf(fields: Fields): NewItem {
  const definition = Object.entries(fields).filter(([key]) => key !== 'name' && !readOnly.has(key));
  return { name: stated(fields, 'name'), definition: Object.fromEntries(definition) as JsonMap };
}

const stated = (fields: Fields, key: string): string => String(fields[key]);
const optional = (fields: Fields, key: string): string | null => (fields[key] as string | null | undefined) ?? null;
const listOf = (fields: Fields, key: string): readonly Fields[] => (fields[key] as readonly Fields[] | undefined) ?? [];

function distinct<Key extends string, T extends Readonly<Record<Key, unknown>>>(what: string, items: readonly T[], key: Key): readonly T[] {
  if (new Set(items.map((item) => item[key])).size < items.length) throw badRequest(`The ${what} of one namespace have different names.`);
  return items;
}
