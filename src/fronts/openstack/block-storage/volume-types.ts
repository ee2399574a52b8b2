import type { FastifyInstance } from 'fastify';
import type { VolumeType } from '../../../cloud/volumes/service.ts';
import type { BlockStorageFront } from './context.ts';

/** What is told of a type's extra specs to those who do not administer the cloud. */
const openSpecs: readonly string[] = ['RESKEY:availability_zones', 'multiattach', 'replication_enabled'];

/** Types can be looked at; there is nothing yet that would make two of them differ. */
export function registerVolumeTypeRoutes(app: FastifyInstance, { volumes }: BlockStorageFront): void {
  app.get<{ Querystring: { name?: string } }>('/types', async (request) => {
    const { name } = request.query;
    const types = await volumes.types(request.caller);
    return {
      volume_types: types.filter((type) => name === undefined || type.name === name).map((type) => typeView(type, request.caller.isAdmin)),
    };
  });
  app.get<{ Params: { id: string } }>('/types/:id', async (request) => ({
    volume_type: typeView(await volumes.type(request.caller, request.params.id), request.caller.isAdmin),
  }));
  app.get<{ Params: { id: string } }>('/types/:id/extra_specs', async (request) => {
    const type = await volumes.type(request.caller, request.params.id);
    return { extra_specs: visibleSpecs(type, request.caller.isAdmin) };
  });
}

const visibleSpecs = ({ extraSpecs }: VolumeType, isAdmin: boolean): object =>
  Object.fromEntries(Object.entries(extraSpecs).filter(([key]) => isAdmin || openSpecs.includes(key)));

function typeView(type: VolumeType, isAdmin: boolean): object {
  return {
    id: type.id,
    name: type.name,
    is_public: type.isPublic,
    description: type.description,
    extra_specs: visibleSpecs(type, isAdmin),
    'os-volume-type-access:is_public': type.isPublic,
    ...(isAdmin ? { qos_specs_id: null } : {}),
  };
}
