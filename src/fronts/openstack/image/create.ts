import type { ImageAttributes, NewImage } from '../../../cloud/images/image.ts';
import { attributeOf, checkPropertyName, isAttribute, refuseReadOnly, refuseReserved } from './attributes.ts';
import { parseImageKeys } from './schema.ts';

/** The body of a creation: attributes and properties side by side. */
export function parseNewImage(body: unknown): NewImage {
  const keys = parseImageKeys(body);
  let attributes: Partial<ImageAttributes> = {};
  const properties: Record<string, string> = {};
  let id: string | undefined;
  for (const [key, value] of Object.entries(keys)) {
    refuseReadOnly(key);
    refuseReserved(key === 'locations' ? 'location' : key);
    if (key === 'id') id = String(value);
    else if (isAttribute(key)) attributes = { ...attributes, ...attributeOf(key, value) };
    else {
      checkPropertyName(key);
      properties[key] = String(value);
    }
  }
  return { ...attributes, ...(id === undefined ? {} : { id }), properties };
}
