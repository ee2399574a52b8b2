/** Imports, the tasks that tell of them, and what the service can do. */
import type { FastifyInstance } from 'fastify';
import type { JsonMap } from '../../../cloud/database/schema.ts';
import { taskStatuses } from '../../../cloud/images/image.ts';
import type { ImageImports, ImageTask, ImportOrder } from '../../../cloud/images/service.ts';
import { badRequest, methodNotAllowed, notFound } from '../../../lib/errors.ts';
import { type Query, queryOf, queryValue } from '../shared/paging.ts';
import { parseLimit } from './query.ts';
import { nextPage, secondsOf } from './view.ts';

type WithId = { Params: { id: string } };

export function importRoutes(app: FastifyInstance, imports: ImageImports): void {
  app.post<WithId>('/v2/images/:id/import', async (request, reply) => {
    await imports.begin(request.caller, request.params.id, parseImport(request.body, imports.methods));
    return reply.code(202).send();
  });
  app.get<WithId>('/v2/images/:id/tasks', async (request) => {
    const tasks = await imports.tasksOf(request.caller, request.params.id);
    return { tasks: tasks.map(taskView) };
  });
  app.get('/v2/info/import', async () => ({
    'import-methods': { description: 'Import methods available.', type: 'array', value: imports.methods },
  }));
  for (const path of ['/v2/info/stores', '/v2/info/stores/detail']) {
    app.get(path, async () => {
      throw notFound('Multi backend is not supported at this site.');
    });
  }
}

/** All imports, for those who run the cloud. */
export function taskRoutes(app: FastifyInstance, imports: ImageImports): void {
  app.get('/v2/tasks', async (request) => {
    const query = queryOf(request);
    const limit = parseLimit(queryValue(query, 'limit'));
    const tasks = await imports.listTasks(request.caller, { status: statusOf(query), limit, marker: queryValue(query, 'marker') });
    return {
      // The list leaves out what may be long.
      tasks: tasks.map((task) => ({ ...taskView(task), input: undefined, result: undefined, message: undefined })),
      ...nextPage('/v2/tasks', request.url, tasks.length === limit ? tasks.at(-1)?.id : undefined),
      schema: '/v2/schemas/tasks',
    };
  });
  app.post('/v2/tasks', async (request) => {
    await imports.listTasks(request.caller, { status: undefined, limit: 1, marker: undefined });
    throw badRequest('Tasks are not made by hand here: import an image instead.');
  });
  app.get<WithId>('/v2/tasks/:id', async (request) => taskView(await imports.showTask(request.caller, request.params.id)));
  app.delete('/v2/tasks/:id', async () => {
    throw methodNotAllowed('The method is not allowed for this resource.');
  });
}

function statusOf(query: Query): ImageTask['status'] | undefined {
  const text = queryValue(query, 'status');
  if (text === undefined) return undefined;
  const status = taskStatuses.find((known) => known === text);
  if (status === undefined) throw badRequest(`Invalid status value: ${text}`);
  return status;
}

const taskView = (task: ImageTask): Record<string, unknown> => ({
  id: task.id,
  type: 'api_image_import',
  status: task.status,
  owner: task.owner,
  input: task.input,
  result: task.status === 'success' ? { image_id: task.imageId } : null,
  message: task.message,
  image_id: task.imageId,
  user_id: task.userId,
  request_id: task.requestId,
  created_at: secondsOf(task.createdAt),
  updated_at: secondsOf(task.updatedAt),
  ...(task.expiresAt === null ? {} : { expires_at: secondsOf(task.expiresAt) }),
  self: `/v2/tasks/${task.id}`,
  schema: '/v2/schemas/task',
});

function parseImport(body: unknown, methods: ImageImports['methods']): ImportOrder {
  const request = objectOf(body);
  if (request === undefined || request.method === undefined) throw badRequest("Import request requires a 'method' field.");
  const asked = objectOf(request.method);
  if (asked?.name === undefined) throw badRequest("Import request requires a 'name' field.");
  const method = methods.find((known) => known === asked.name);
  if (method === undefined) throw badRequest(`Unknown import method name '${String(asked.name)}'.`);
  for (const flag of ['all_stores', 'all_stores_must_succeed']) {
    if (request[flag] !== undefined && typeof request[flag] !== 'boolean') throw badRequest(`'${flag}' must be boolean value only`);
  }
  if (asked.uri !== undefined && typeof asked.uri !== 'string') throw badRequest("'uri' must be a string");
  return { method, uri: asked.uri, request: request as JsonMap };
}

function objectOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}
