/** The catalog as tokens show it, with the URLs that this client can use. */
import type { FastifyRequest } from 'fastify';
import type { CatalogEntry } from '../../../cloud/identity/catalog-entities.ts';
import type { ValidToken } from '../../../cloud/identity/token.ts';
import { publicBase } from '../shared/links.ts';
import { orderOf } from './catalog.ts';
import type { IdentityFront } from './context.ts';

export async function catalogFor(token: ValidToken, request: FastifyRequest, front: IdentityFront): Promise<object[]> {
  const base = publicBase(request, front.publicUrl);
  const services = new Map<string, { id: string; type: string; name: string; endpoints: object[]; order: number }>();
  for (const entry of await front.identity.catalog.forToken(token)) {
    const url = urlFor(entry, token, base);
    if (url === undefined) continue;
    const order = entry.builtIn ? orderOf(entry.type) : Number.POSITIVE_INFINITY;
    const service = services.get(entry.serviceId) ?? { id: entry.serviceId, type: entry.type, name: entry.name, endpoints: [], order };
    const { endpointId: id, interface: name, regionId } = entry;
    service.endpoints.push({ id, interface: name, region: regionId, region_id: regionId, url });
    services.set(entry.serviceId, service);
  }
  const sorted = [...services.values()].sort((one, other) => (one.order === other.order ? 0 : one.order - other.order));
  return sorted.map(({ order: _, ...service }) => service);
}

/** Undefined when the URL needs something that the token does not have, or that nobody knows. */
function urlFor({ url, builtIn }: CatalogEntry, { scope, user }: ValidToken, base: string): string | undefined {
  const project = scope.kind === 'project' ? scope.project.id : undefined;
  const values = new Map([
    ['project_id', project],
    ['tenant_id', project],
    ['user_id', user.id],
  ]);
  let complete = true;
  const filled = url.replace(/[$%]\((\w+)\)s/g, (_, name: string) => {
    const value = values.get(name);
    complete &&= value !== undefined;
    return value ?? '';
  });
  if (!complete) return undefined;
  return builtIn ? base + filled : filled;
}
