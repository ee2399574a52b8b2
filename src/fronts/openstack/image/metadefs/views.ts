import type {
  Association,
  ListedNamespace,
  MetadefItem,
  Namespace,
  NewAssociation,
  WholeNamespace,
} from '../../../../cloud/images/metadefs/service.ts';
import { secondsOf } from '../view.ts';

type View = Record<string, unknown>;
type Timed = Pick<Namespace, 'createdAt' | 'updatedAt'>;

const times = (of: Timed): View => ({ created_at: secondsOf(of.createdAt), updated_at: secondsOf(of.updatedAt) });
const pathOf = (namespace: string): string => `/v2/metadefs/namespaces/${encodeURIComponent(namespace)}`;

export function namespaceView(namespace: Namespace): View {
  return {
    namespace: namespace.namespace,
    ...(namespace.displayName === null ? {} : { display_name: namespace.displayName }),
    ...(namespace.description === null ? {} : { description: namespace.description }),
    visibility: namespace.visibility,
    protected: namespace.protected,
    owner: namespace.owner,
    ...times(namespace),
    self: pathOf(namespace.namespace),
    schema: '/v2/schemas/metadefs/namespace',
  };
}

export const listedNamespaceView = (namespace: ListedNamespace): View => ({
  ...namespaceView(namespace),
  resource_type_associations: namespace.associations.map(associationView),
});

/** What is empty is left out. With a resource type, properties have the names that they have on it. */
export function wholeNamespaceView(namespace: WholeNamespace, resourceType?: string): View {
  const { object, property, tag } = namespace.items;
  const prefix = namespace.associations.find((association) => association.resourceType === resourceType)?.prefix ?? '';
  const properties = Object.fromEntries(property.map((item) => [`${prefix}${item.name}`, item.definition]));
  return {
    ...(namespace.associations.length === 0 ? namespaceView(namespace) : listedNamespaceView(namespace)),
    ...(property.length === 0 ? {} : { properties }),
    ...(object.length === 0 ? {} : { objects: object.map((item) => objectView(namespace.namespace, item)) }),
    ...(tag.length === 0 ? {} : { tags: tag.map(tagView) }),
  };
}

export const associationView = (association: Association): View => ({ ...newAssociationView(association), ...times(association) });

const newAssociationView = (association: NewAssociation): View => ({
  name: association.resourceType,
  ...(association.propertiesTarget === null ? {} : { properties_target: association.propertiesTarget }),
  ...(association.prefix === null ? {} : { prefix: association.prefix }),
});

export const objectView = (namespace: string, item: MetadefItem): View => ({
  required: [],
  properties: {},
  ...item.definition,
  name: item.name,
  ...times(item),
  self: `${pathOf(namespace)}/objects/${encodeURIComponent(item.name)}`,
  schema: '/v2/schemas/metadefs/object',
});

export const propertyView = (item: MetadefItem): View => ({ ...item.definition, name: item.name });

export const tagView = (item: MetadefItem): View => ({ name: item.name, ...times(item) });
