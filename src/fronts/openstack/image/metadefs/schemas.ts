/** The JSON schemas of metadata definitions: served to clients, and used here to check what they send. */
import type { TArray, TSchema } from 'typebox';
import { badRequest } from '../../../../lib/errors.ts';
import { type BodyMessage, distinctTexts, parseBody } from '../../shared/body.ts';

const nameLengthMax = 80;
const name = { type: 'string', minLength: 1, maxLength: nameLengthMax };
const readOnlyTime = { type: 'string', readOnly: true, description: 'Date and time of the last change, or of the creation' };
const times = { created_at: readOnlyTime, updated_at: readOnlyTime };
const readOnlyText = { type: 'string', readOnly: true };
const links = { self: readOnlyText, schema: readOnlyText };
const selfLinks = [
  { rel: 'self', href: '{self}' },
  { rel: 'describedby', href: '{schema}' },
];
const pageLinks = [
  { rel: 'first', href: '{first}' },
  { rel: 'next', href: '{next}' },
  { rel: 'describedby', href: '{schema}' },
];
const count = { type: 'integer', minimum: 0 };
const typeNames = ['array', 'boolean', 'integer', 'number', 'object', 'string', null];

/** What a property is like, but for its name. */
const propertyBase = {
  title: { type: 'string' },
  description: { type: 'string' },
  operators: { type: 'array', items: { type: 'string' } },
  type: { type: 'string', enum: typeNames },
  required: { type: 'array', items: { type: 'string' }, uniqueItems: true },
  minimum: { type: 'number' },
  maximum: { type: 'number' },
  maxLength: count,
  minLength: count,
  pattern: { type: 'string' },
  enum: { type: 'array' },
  readonly: { type: 'boolean' },
  default: {},
  items: {
    type: 'object',
    properties: { type: { type: 'string', enum: typeNames }, enum: { type: 'array' } },
  },
  maxItems: count,
  minItems: count,
  uniqueItems: { type: 'boolean' },
  additionalItems: { type: 'boolean' },
};

const propertyMap = {
  type: 'object',
  additionalProperties: { type: 'object', required: ['title', 'type'], properties: propertyBase },
};

const objectProperties = {
  name: { ...name, maxLength: 255 },
  description: { type: 'string' },
  required: { type: 'array', items: { type: 'string' }, uniqueItems: true },
  properties: propertyMap,
  ...links,
  ...times,
};

const associationProperties = {
  name: { ...name, description: 'Resource type names should be aligned with Heat resource types whenever possible' },
  prefix: { ...name, description: 'What property names begin with on this resource type' },
  properties_target: { ...name, description: 'Which part of the resource the properties belong to' },
  ...times,
};

const tagProperties = { name: { ...name, maxLength: 255 }, ...times };

const namespaceProperties = {
  namespace: { ...name, description: 'The unique namespace text' },
  display_name: { type: ['string', 'null'], maxLength: nameLengthMax, description: 'The user friendly name' },
  description: { type: ['string', 'null'], maxLength: 500 },
  visibility: { type: 'string', enum: ['public', 'private'] },
  protected: { type: 'boolean' },
  owner: { type: 'string', maxLength: 255 },
  ...times,
  ...links,
  resource_type_associations: {
    type: 'array',
    items: { type: 'object', required: ['name'], properties: associationProperties },
  },
  properties: propertyMap,
  objects: { type: 'array', items: { type: 'object', required: ['name'], properties: objectProperties } },
  tags: { type: 'array', items: { type: 'object', required: ['name'], properties: tagProperties } },
};

const propertyProperties = { name: { ...name, maxLength: 255 }, ...propertyBase };

const page = (key: string, items: object) => ({
  [key]: { type: 'array', items },
  first: { type: 'string' },
  next: { type: 'string' },
  schema: { type: 'string' },
});

const namespaceSchema = { name: 'namespace', properties: namespaceProperties, required: ['namespace'], additionalProperties: false };
const objectSchema = { name: 'object', properties: objectProperties, required: ['name'], additionalProperties: false, links: selfLinks };
const propertySchema = {
  name: 'property',
  properties: propertyProperties,
  required: ['name', 'title', 'type'],
  additionalProperties: false,
};
const tagSchema = { name: 'tag', properties: tagProperties, required: ['name'], additionalProperties: false };
const associationSchema = {
  name: 'resource_type_association',
  properties: associationProperties,
  required: ['name'],
  additionalProperties: false,
};

/** By the last part of `/v2/schemas/metadefs/…`. */
export const metadefSchemas: Readonly<Record<string, object>> = {
  namespace: namespaceSchema,
  namespaces: { name: 'namespaces', properties: page('namespaces', namespaceSchema), links: pageLinks },
  object: objectSchema,
  objects: { name: 'objects', properties: page('objects', objectSchema), links: pageLinks },
  property: propertySchema,
  properties: {
    name: 'properties',
    properties: { ...page('properties', propertySchema), properties: { type: 'object', additionalProperties: propertySchema } },
    links: pageLinks,
  },
  tag: tagSchema,
  tags: { name: 'tags', properties: page('tags', tagSchema), links: pageLinks },
  resource_type: associationSchema,
  resource_types: {
    name: 'resource_type_associations',
    properties: page('resource_type_associations', associationSchema),
    links: pageLinks,
  },
};

/** So many names are more than any form asks for. */
const requiredMax = 1000;

/** The same schema to check with: lists without repeats are compared in our way. */
function checkable(schema: unknown): unknown {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) return schema;
  const { uniqueItems, ...rest } = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, checkable(value)]));
  if (uniqueItems === true) return distinctTexts({ ...rest, maxItems: requiredMax } as unknown as TArray);
  return uniqueItems === undefined ? rest : { ...rest, uniqueItems };
}

const checked = checkable({
  namespace: { type: 'object', ...namespaceSchema },
  object: { type: 'object', ...objectSchema },
  property: { type: 'object', ...propertySchema },
  tag: { type: 'object', ...tagSchema },
  association: { type: 'object', ...associationSchema },
  tags: { type: 'object', required: ['tags'], properties: { tags: { type: 'array', items: { type: 'object', ...tagSchema } } } },
}) as Readonly<Record<MetadefBody, TSchema>>;

type MetadefBody = 'namespace' | 'object' | 'property' | 'tag' | 'association' | 'tags';

export type Fields = Readonly<Record<string, unknown>>;

/** The body, of the right shape. */
export function parseMetadef(kind: MetadefBody, body: unknown): Fields {
  if (body === undefined) throw badRequest('Body expected in request.');
  const message: BodyMessage = ({ path, why }) =>
    `Provided object does not match schema '${kind}': ${why}${path === '' ? '' : ` (on '${path}')`}`;
  return parseBody(checked[kind], body, message) as Fields;
}
