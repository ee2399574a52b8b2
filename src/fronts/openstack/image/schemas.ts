/** All schemas that Image serves. Clients build their options and checks from them. */
import type { FastifyInstance } from 'fastify';
import { memberStatuses, taskStatuses } from '../../../cloud/images/image.ts';
import { metadefSchemas } from './metadefs/schemas.ts';
import { imageSchema, imagesSchema } from './schema.ts';

const text = { type: 'string' };
const time = { type: 'string', description: 'Date and time, ISO 8601' };
const readOnlyText = { ...text, readOnly: true };
const pageLinks = [
  { rel: 'first', href: '{first}' },
  { rel: 'next', href: '{next}' },
  { rel: 'describedby', href: '{schema}' },
];

const memberSchema = {
  name: 'member',
  properties: {
    member_id: { ...text, description: 'The project that the image is shared with' },
    image_id: {
      ...text,
      description: 'The image',
      pattern: '^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$',
    },
    created_at: time,
    updated_at: time,
    status: { ...text, description: 'What the member says to it', enum: memberStatuses },
    schema: readOnlyText,
  },
};

const taskSchema = {
  name: 'task',
  properties: {
    id: {
      ...text,
      description: 'The task',
      pattern: '^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$',
    },
    type: { ...text, description: 'What is done', enum: ['import', 'api_image_import', 'location_import'] },
    status: { ...text, description: 'How far it is', enum: taskStatuses },
    input: { type: ['object', 'null'], description: 'What was asked for' },
    result: { type: ['object', 'null'], description: 'What came of it' },
    owner: { ...text, description: 'The project that asked' },
    message: { ...text, description: 'Why it failed' },
    image_id: { ...text, description: 'The image that it works on' },
    request_id: { ...text, description: 'The request that began it' },
    user_id: { ...text, description: 'Who asked' },
    expires_at: time,
    created_at: time,
    updated_at: time,
    self: readOnlyText,
    schema: readOnlyText,
  },
};

const listOf = (name: string, items: object): object => ({
  name,
  properties: { [name]: { type: 'array', items }, first: text, next: text, schema: text },
  links: pageLinks,
});

const schemas: Readonly<Record<string, object>> = {
  image: imageSchema,
  images: imagesSchema,
  member: memberSchema,
  members: { name: 'members', properties: { members: { type: 'array', items: memberSchema }, schema: text }, links: [pageLinks[2]] },
  task: taskSchema,
  tasks: listOf('tasks', taskSchema),
  ...Object.fromEntries(Object.entries(metadefSchemas).map(([name, schema]) => [`metadefs/${name}`, schema])),
};

export function schemaRoutes(app: FastifyInstance): void {
  for (const [name, schema] of Object.entries(schemas)) app.get(`/v2/schemas/${name}`, async () => schema);
}
