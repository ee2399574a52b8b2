/** Which keys of an image clients may set, and what the use cases call them. Values come checked by the schema. */
import type { ImageAttributes } from '../../../cloud/images/image.ts';
import { badRequest, forbidden } from '../../../lib/errors.ts';

const settable: Readonly<Record<string, keyof ImageAttributes>> = {
  name: 'name',
  owner: 'owner',
  visibility: 'visibility',
  protected: 'protected',
  os_hidden: 'hidden',
  container_format: 'containerFormat',
  disk_format: 'diskFormat',
  min_disk: 'minDiskGib',
  min_ram: 'minRamMib',
  tags: 'tags',
};

const reserved: ReadonlySet<string> = new Set(['location', 'deleted', 'deleted_at']);
const reservedBeginning = 'os_glance';
const nameLengthMax = 255;

export const isAttribute = (key: string): boolean => Object.hasOwn(settable, key);

export function attributeOf(key: string, value: unknown): Partial<ImageAttributes> {
  const name = settable[key];
  if (name === undefined) throw new Error(`${key} is not an attribute that can be set`);
  // An image always has an owner here; null means what leaving it out means.
  if (name === 'owner' && value === null) return {};
  return { [name]: value };
}

const readOnly: ReadonlySet<string> = new Set([
  'created_at',
  'updated_at',
  'status',
  'checksum',
  'size',
  'virtual_size',
  'direct_url',
  'self',
  'file',
  'schema',
  'stores',
  'os_hash_algo',
  'os_hash_value',
]);

export function refuseReadOnly(key: string): void {
  if (readOnly.has(key)) throw forbidden(`Attribute '${key}' is read-only.`);
}

export function refuseReserved(key: string): void {
  if (reserved.has(key) || key.startsWith(reservedBeginning)) throw forbidden(`Attribute '${key}' is reserved.`);
}

export function checkPropertyName(name: string): void {
  if ([...name].length > nameLengthMax) throw badRequest('Custom property should not be greater than 255 characters.');
}
