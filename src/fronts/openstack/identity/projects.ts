import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { JsonMap } from '../../../cloud/database/service.ts';
import type { Project } from '../../../cloud/identity/entities.ts';
import { keystoneBodyMessage, parseBody, text } from '../shared/body.ts';
import { type Query, queryOf, queryValue } from '../shared/paging.ts';
import { collection, flag, type IdentityFront, unknownAttributes, v3Of } from './context.ts';

export const projectView = (project: Project, request: FastifyRequest, front: IdentityFront) => ({
  ...project.extra,
  id: project.id,
  name: project.name,
  domain_id: project.domainId,
  description: project.description,
  enabled: project.enabled,
  parent_id: project.parentId,
  is_domain: false,
  tags: tagsOf(project),
  options: {},
  links: { self: `${v3Of(request, front)}/projects/${project.id}` },
});

/** Tags are kept among the attributes that nothing else reads. */
function tagsOf(project: Project): string[] {
  const { tags } = project.extra;
  return Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string') : [];
}

const tag = Type.Refine(
  text(255, 1),
  (value) => !/[,/]/.test(value),
  () => "{value} does not match '^[^,/]*$'",
);
const attributes = {
  domain_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  parent_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  enabled: Type.Optional(Type.Boolean()),
  is_domain: Type.Optional(Type.Literal(false)),
  tags: Type.Optional(Type.Array(tag, { maxItems: 80, uniqueItems: true })),
  options: Type.Optional(Type.Object({}, { additionalProperties: false })),
};
const creation = Type.Object({ project: Type.Object({ name: text(64, 1), ...attributes }) });
const change = Type.Object({ project: Type.Object({ name: Type.Optional(text(64, 1)), ...attributes }) });

const known = ['id', 'name', 'domain_id', 'parent_id', 'description', 'enabled', 'is_domain', 'options', 'links'];

function hasTags(query: Query): (project: Project) => boolean {
  const wanted = queryValue(query, 'tags')?.split(',') ?? [];
  return (project) => wanted.every((name) => tagsOf(project).includes(name));
}

export function projectRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { projects } = front.identity;
  const view = (project: Project, request: FastifyRequest) => ({ project: projectView(project, request, front) });
  const list = (found: readonly Project[], request: FastifyRequest) =>
    collection(
      request,
      front,
      'projects',
      found.filter(hasTags(queryOf(request))).map((project) => projectView(project, request, front)),
    );

  app.get('/projects', async (request) => {
    const query = queryOf(request);
    // Domains are no projects here, so there is nothing to show to who asks for those that are.
    if (flag(query, 'is_domain') === true) return list([], request);
    const filter = {
      name: queryValue(query, 'name'),
      domainId: queryValue(query, 'domain_id'),
      parentId: queryValue(query, 'parent_id'),
      enabled: flag(query, 'enabled'),
    };
    return list(await projects.list(request.token, filter), request);
  });
  app.get<{ Params: { id: string } }>('/users/:id/projects', async (request) =>
    list(await projects.listOfUser(request.token, request.params.id), request),
  );
  app.get<{ Params: { id: string } }>('/projects/:id', async (request) =>
    view(await projects.get(request.token, request.params.id), request),
  );
  app.post('/projects', async (request, reply) => {
    const { project } = parseBody(creation, request.body, keystoneBodyMessage);
    reply.code(201);
    return view(await projects.create(request.token, { name: project.name, ...inputOf(project) }), request);
  });
  app.patch<{ Params: { id: string } }>('/projects/:id', async (request) => {
    const { project } = parseBody(change, request.body, keystoneBodyMessage);
    return view(await projects.update(request.token, request.params.id, { name: project.name, ...inputOf(project) }), request);
  });
  app.delete<{ Params: { id: string } }>('/projects/:id', async (request, reply) => {
    await projects.delete(request.token, request.params.id);
    return reply.code(204).send();
  });
}

interface Attributes {
  readonly domain_id?: string | null;
  readonly parent_id?: string | null;
  readonly description?: string | null;
  readonly enabled?: boolean;
}

const inputOf = (project: Attributes) => ({
  domainId: project.domain_id ?? undefined,
  parentId: project.parent_id ?? undefined,
  description: project.description ?? undefined,
  enabled: project.enabled,
  // The body came from JSON, so its values are.
  extra: unknownAttributes(project, known) as JsonMap,
});
