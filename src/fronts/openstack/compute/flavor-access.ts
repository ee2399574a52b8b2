/** Who may use a flavor that is not public. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { actionIn, taking } from '../shared/actions.ts';
import { parseBody, text } from '../shared/body.ts';
import type { ComputeFront } from './context.ts';
import { isSince } from './microversions.ts';

type WithId = { Params: { id: string } };

const access = Type.Object({ tenant: text(255, 1) }, { additionalProperties: false });
const actions = { addTenantAccess: true, removeTenantAccess: true };

export function registerFlavorAccessRoutes(app: FastifyInstance, { flavors }: ComputeFront): void {
  app.get<WithId>('/flavors/:id/os-flavor-access', async ({ caller, params }) =>
    accessView(params.id, await flavors.accessOf(caller, params.id)),
  );
  app.post<WithId>('/flavors/:id/action', taking(actions), async ({ caller, params: { id }, body, microversion }) => {
    const { name, argument } = actionIn(body, actions);
    const { tenant } = parseBody(access, argument);
    const projects =
      name === 'addTenantAccess'
        ? await flavors.addAccess(caller, id, tenant, { publicToo: !isSince(microversion, 7) })
        : await flavors.removeAccess(caller, id, tenant);
    return accessView(id, projects);
  });
}

const accessView = (id: string, projects: readonly string[]): object => ({
  flavor_access: projects.map((project) => ({ flavor_id: id, tenant_id: project })),
});
