import type { FastifyInstance, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { JsonMap } from '../../../cloud/database/service.ts';
import { type AnyProject, isProject, type Project } from '../../../cloud/identity/entities.ts';
import { tagsOf } from '../../../cloud/identity/project-changes.ts';
import type { ValidToken } from '../../../cloud/identity/token.ts';
import { badRequest } from '../../../lib/errors.ts';
import { keystoneBodyMessage, parseBody } from '../shared/body.ts';
import { type Query, queryOf, queryValue } from '../shared/paging.ts';
import { immutableOf, optionsView, resourceOptions, shortName, tags, textOrNull } from './attributes.ts';
import { collection, flag, type IdentityFront, unknownAttributes, v3Of } from './context.ts';

export const projectView = (project: AnyProject, request: FastifyRequest, front: IdentityFront) => ({
  ...project.extra,
  id: project.id,
  name: project.name,
  domain_id: isProject(project) ? project.domainId : null,
  description: project.description,
  enabled: project.enabled,
  parent_id: isProject(project) ? project.parentId : null,
  is_domain: !isProject(project),
  tags: tagsOf(project),
  options: optionsView(project),
  links: { self: `${v3Of(request, front)}/projects/${project.id}` },
});

const attributes = {
  domain_id: Type.Optional(textOrNull),
  parent_id: Type.Optional(textOrNull),
  description: Type.Optional(textOrNull),
  enabled: Type.Optional(Type.Boolean()),
  is_domain: Type.Optional(Type.Boolean()),
  tags: Type.Optional(tags),
  options: Type.Optional(resourceOptions),
};
const creation = Type.Object({ project: Type.Object({ name: shortName, ...attributes }) });
const change = Type.Object({ project: Type.Object({ name: Type.Optional(shortName), ...attributes }) });

const known = ['id', 'name', 'domain_id', 'parent_id', 'description', 'enabled', 'is_domain', 'options', 'links'];

function hasTags(query: Query): (project: AnyProject) => boolean {
  const listed = (name: string) => queryValue(query, name)?.split(',');
  const [all, any, notAll, notAny] = [listed('tags'), listed('tags-any'), listed('not-tags'), listed('not-tags-any')];
  return (project) => {
    const own = tagsOf(project);
    const has = (name: string) => own.includes(name);
    if (all?.every(has) === false || any?.some(has) === false) return false;
    return notAll?.every(has) !== true && notAny?.some(has) !== true;
  };
}

export function projectRoutes(app: FastifyInstance, front: IdentityFront): void {
  const { projects, domains } = front.identity;
  const view = (project: AnyProject, request: FastifyRequest) => ({ project: projectView(project, request, front) });
  const list = (found: readonly AnyProject[], request: FastifyRequest) =>
    collection(
      request,
      front,
      'projects',
      found.filter(hasTags(queryOf(request))).map((project) => projectView(project, request, front)),
    );

  app.get('/projects', async (request) => {
    const query = queryOf(request);
    const filter = {
      name: queryValue(query, 'name'),
      domainId: queryValue(query, 'domain_id'),
      parentId: queryValue(query, 'parent_id'),
      enabled: flag(query, 'enabled'),
    };
    if (flag(query, 'is_domain') !== true) return list(await projects.list(request.token, filter), request);
    const found = await domains.list(request.token, filter);
    // Domains stand in no domain and below no project.
    return list(filter.domainId === undefined && filter.parentId === undefined ? found : [], request);
  });
  app.get<{ Params: { id: string } }>('/users/:id/projects', async (request) =>
    list(await projects.listOfUser(request.token, request.params.id), request),
  );
  app.get<{ Params: { id: string } }>('/projects/:id', async (request) => {
    const project = await projects.get(request.token, request.params.id);
    const around = isProject(project) ? await hierarchyOf(project, request, front) : {};
    return { project: { ...projectView(project, request, front), ...around } };
  });
  app.post('/projects', async (request, reply) => {
    const { project } = parseBody(creation, request.body, keystoneBodyMessage);
    const created = await projects.create(request.token, { name: project.name, ...inputOf(project) });
    reply.code(201);
    return view(created, request);
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

const inputOf = (project: Static<typeof change>['project']) => ({
  domainId: project.domain_id ?? undefined,
  parentId: project.parent_id ?? undefined,
  isDomain: project.is_domain,
  description: project.description ?? undefined,
  enabled: project.enabled,
  immutable: immutableOf(project.options),
  // The body came from JSON, so its values are.
  extra: unknownAttributes(project, known) as JsonMap,
});

/** What lies above and below, as far as the request asks: as a list of those that the asker has a role in, or as all the ids, nested. */
async function hierarchyOf(project: Project, request: FastifyRequest, front: IdentityFront): Promise<object> {
  const query = queryOf(request);
  const [parentsAsList, parentsAsIds, subtreeAsList, subtreeAsIds] = [
    flag(query, 'parents_as_list'),
    flag(query, 'parents_as_ids'),
    flag(query, 'subtree_as_list'),
    flag(query, 'subtree_as_ids'),
  ];
  if (parentsAsList && parentsAsIds) {
    throw badRequest('Cannot use parents_as_list and parents_as_ids query params at the same time.');
  }
  if (subtreeAsList && subtreeAsIds) {
    throw badRequest('Cannot use subtree_as_list and subtree_as_ids query params at the same time.');
  }
  const list = (found: readonly Project[]) => found.map((one) => ({ project: projectView(one, request, front) }));
  const { projects } = front.identity;
  const token: ValidToken = request.token;
  return {
    ...(parentsAsList ? { parents: list(await projects.above(token, project.id, 'seen')) } : {}),
    ...(parentsAsIds ? { parents: parentIds(project, await projects.above(token, project.id, 'all')) } : {}),
    ...(subtreeAsList ? { subtree: list(await projects.below(token, project.id, 'seen')) } : {}),
    ...(subtreeAsIds ? { subtree: childIds(project.id, await projects.below(token, project.id, 'all')) } : {}),
  };
}

type Ids = { readonly [id: string]: Ids } | null;

const parentIds = (project: Project, above: readonly Project[]): Ids =>
  [...above.map(({ id }) => id), project.domainId].reduceRight<Ids>((rest, id) => ({ [id]: rest }), null);

function childIds(id: string, below: readonly Project[]): Ids {
  const children = below.filter(({ parentId }) => parentId === id);
  return children.length === 0 ? null : Object.fromEntries(children.map((child) => [child.id, childIds(child.id, below)]));
}
