/**
 * The JSON schemas of images: served to clients, some of which build their options and checks from them, and used here to check what
 * they send. One source, so that the two cannot differ.
 */
import type { TSchema } from 'typebox';
import { containerFormats, diskFormats, visibilities } from '../../../cloud/images/image.ts';
import { badRequest } from '../../../lib/errors.ts';
import { type BodyMessage, parseBody } from '../shared/body.ts';

const integerMax = 2 ** 31 - 1;
const readOnlyText = (description: string) => ({ type: 'string', readOnly: true, description });

const properties = {
  id: {
    type: 'string',
    description: 'The UUID of the image',
    pattern: '^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$',
  },
  name: { type: ['null', 'string'], description: 'What people call the image', maxLength: 255 },
  status: {
    type: 'string',
    readOnly: true,
    description: 'Where the image is in its life',
    enum: ['queued', 'saving', 'active', 'killed', 'deleted', 'uploading', 'importing', 'pending_delete', 'deactivated'],
  },
  visibility: { type: 'string', description: 'Who can see and use the image', enum: [...visibilities] },
  protected: { type: 'boolean', description: 'Whether the image is safe from deletion' },
  os_hidden: { type: 'boolean', description: 'Whether ordinary lists leave the image out' },
  checksum: { type: ['null', 'string'], readOnly: true, description: 'MD5 of the data, hexadecimal', maxLength: 32 },
  os_hash_algo: { type: ['null', 'string'], readOnly: true, description: 'Which hash os_hash_value is', maxLength: 64 },
  os_hash_value: { type: ['null', 'string'], readOnly: true, description: 'Hash of the data, hexadecimal', maxLength: 128 },
  owner: { type: ['null', 'string'], description: 'The project that the image belongs to', maxLength: 255 },
  size: { type: ['null', 'integer'], readOnly: true, description: 'Length of the data in bytes' },
  virtual_size: { type: ['null', 'integer'], readOnly: true, description: 'Size in bytes of the disk in the data' },
  container_format: { type: ['null', 'string'], description: 'What the disk is wrapped in', enum: [null, ...containerFormats] },
  disk_format: { type: ['null', 'string'], description: 'How the disk is written', enum: [null, ...diskFormats] },
  created_at: readOnlyText('When the image was registered'),
  updated_at: readOnlyText('When the image was changed last'),
  tags: { type: 'array', description: 'Words that the image can be found by', items: { type: 'string', maxLength: 255 } },
  direct_url: readOnlyText('Where the data lies in an outside store'),
  min_ram: { type: 'integer', description: 'Memory in MiB that a server needs to boot the image', maximum: integerMax },
  min_disk: { type: 'integer', description: 'Disk in GiB that the image needs', maximum: integerMax },
  self: readOnlyText('The path of the image'),
  file: readOnlyText('The path of its data'),
  stores: readOnlyText('The stores that hold the data, where there are several'),
  schema: readOnlyText('The path of the schema of an image'),
  locations: {
    type: 'array',
    description: 'Where the data lies in outside stores',
    items: {
      type: 'object',
      properties: { url: { type: 'string', maxLength: 255 }, metadata: { type: 'object' } },
      required: ['url', 'metadata'],
    },
  },
};

export const imageSchema = {
  name: 'image',
  properties,
  additionalProperties: { type: 'string' },
  links: [
    { rel: 'self', href: '{self}' },
    { rel: 'enclosure', href: '{file}' },
    { rel: 'describedby', href: '{schema}' },
  ],
};

export const imagesSchema = {
  name: 'images',
  properties: {
    images: { type: 'array', items: imageSchema },
    first: { type: 'string' },
    next: { type: 'string' },
    schema: { type: 'string' },
  },
  links: [
    { rel: 'first', href: '{first}' },
    { rel: 'next', href: '{next}' },
    { rel: 'describedby', href: '{schema}' },
  ],
};

const partialImage = { type: 'object', properties, additionalProperties: { type: 'string' } } as unknown as TSchema;

const message: BodyMessage = ({ field, why }) =>
  `Provided object does not match schema 'image': ${why}${field === '' ? '' : ` (on '${field}')`}`;

/** Some or all of an image's keys, with the right types. */
export function parseImageKeys(body: unknown): Record<string, unknown> {
  if (body === undefined) throw badRequest('Body expected in request.');
  return parseBody(partialImage, body, message) as Record<string, unknown>;
}
