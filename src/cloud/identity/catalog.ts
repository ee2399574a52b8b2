/**
 * The catalog: services, their endpoints, and regions. What this server offers itself is built in: it follows from the program, is put right at
 * each start, and is changed by nobody else. Beside it stand the rows of operators.
 */
import { badRequest, forbidden } from '../../lib/errors.ts';
import type { Database, Tx } from '../database/service.ts';
import type { CatalogEntry, Endpoint, Region, Service } from './catalog-entities.ts';
import { listCatalog } from './catalog-store.ts';
import { createEndpointFilters, type EndpointFilters } from './endpoint-filters.ts';
import { createRecords, type Records } from './records.ts';
import { builtIn, expecting } from './refusals.ts';
import type { ValidToken } from './token.ts';

export interface Catalog {
  readonly regions: Records<Region>;
  readonly services: Records<Service>;
  readonly endpoints: Records<Endpoint> & {
    /** As `create` and `update`, with the region made when there is none of that name. */
    ensureRegion(asker: ValidToken, regionId: string): Promise<void>;
  };
  readonly filters: EndpointFilters;
  /** What a token shows, with the URLs as they are stored. */
  forToken(token: ValidToken): Promise<CatalogEntry[]>;
}

export function createCatalog({ database }: { database: Database }): Catalog {
  const regions = createRecords<Region>(
    { database },
    {
      noun: 'region',
      listAction: 'list_regions',
      createAction: 'create_region',
      table: 'regions',
      columns: { id: 'id', description: 'description', parentRegionId: 'parent_region_id', builtIn: 'built_in', extra: 'extra' },
      check: checkRegion,
      beforeDelete: async (tx, region) => {
        if (region.builtIn) throw builtIn('delete', 'region', region.id);
        await deleteRegionsBelow(tx, region.id);
      },
    },
  );
  const services = createRecords<Service>(
    { database },
    {
      noun: 'service',
      listAction: 'list_services',
      createAction: 'create_service',
      table: 'services',
      columns: {
        id: 'id',
        type: 'type',
        name: 'name',
        description: 'description',
        enabled: 'enabled',
        builtIn: 'built_in',
        extra: 'extra',
      },
      check: async (_tx, _service, old) => {
        if (old?.builtIn === true) throw builtIn('update', 'service', old.id);
      },
      beforeDelete: async (_tx, service) => {
        if (service.builtIn) throw builtIn('delete', 'service', service.id);
      },
    },
  );
  const endpoints = createRecords<Endpoint>(
    { database },
    {
      noun: 'endpoint',
      listAction: 'list_endpoints',
      createAction: 'create_endpoint',
      table: 'endpoints',
      columns: {
        id: 'id',
        serviceId: 'service_id',
        interface: 'interface',
        regionId: 'region_id',
        url: 'url',
        enabled: 'enabled',
        builtIn: 'built_in',
        extra: 'extra',
      },
      check: checkEndpoint,
      beforeDelete: async (_tx, endpoint) => {
        if (endpoint.builtIn) throw builtIn('delete', 'endpoint', endpoint.id);
      },
    },
  );
  return {
    regions,
    services,
    endpoints: {
      ...endpoints,
      async ensureRegion(asker, regionId) {
        const known = await database.sql.selectFrom('regions').select('id').where('id', '=', regionId).executeTakeFirst();
        if (known !== undefined) return;
        await regions.create(asker, { id: regionId, description: '', parentRegionId: null, builtIn: false, extra: {} });
      },
    },
    filters: createEndpointFilters({ database }),
    forToken: ({ scope }) => listCatalog(database.sql, scope.kind === 'project' ? scope.project.id : null),
  };
}

async function checkRegion(tx: Tx, region: Region, old: Region | undefined): Promise<void> {
  if (old?.builtIn === true) throw builtIn('update', 'region', old.id);
  // Up to the top, held on the way: two regions must not become each other's parents.
  let above = region.parentRegionId;
  while (above !== null) {
    if (above === region.id) {
      throw badRequest(`The specified parent region ${region.parentRegionId} would create a circular region hierarchy.`);
    }
    const row = await tx.sql.selectFrom('regions').select('parent_region_id').where('id', '=', above).forUpdate().executeTakeFirst();
    if (row === undefined) throw expecting('parent_region_id', 'region table');
    above = row.parent_region_id;
  }
}

/** With those below them. Refused while an endpoint is in one. */
async function deleteRegionsBelow(tx: Tx, id: string): Promise<void> {
  const used = await tx.sql.selectFrom('endpoints').select('id').where('region_id', '=', id).limit(1).executeTakeFirst();
  if (used !== undefined) {
    throw forbidden(`Unable to delete region ${id} because it or its child regions have associated endpoints.`);
  }
  const children = await tx.sql.selectFrom('regions').select('id').where('parent_region_id', '=', id).forUpdate().execute();
  for (const child of children) {
    await deleteRegionsBelow(tx, child.id);
    await tx.sql.deleteFrom('regions').where('id', '=', child.id).execute();
  }
}

async function checkEndpoint(tx: Tx, endpoint: Endpoint, old: Endpoint | undefined): Promise<void> {
  if (old?.builtIn === true) throw builtIn('update', 'endpoint', old.id);
  const service = await tx.sql.selectFrom('services').select('id').where('id', '=', endpoint.serviceId).executeTakeFirst();
  if (service === undefined) throw expecting('endpoint service_id', 'service table');
  if (endpoint.regionId === null) return;
  const region = await tx.sql.selectFrom('regions').select('id').where('id', '=', endpoint.regionId).executeTakeFirst();
  if (region === undefined) throw expecting('endpoint region_id', 'region table');
}
