import type { JsonMap } from '../database/service.ts';

export interface Region {
  readonly id: string;
  readonly description: string;
  readonly parentRegionId: string | null;
  readonly builtIn: boolean;
  readonly extra: JsonMap;
}

export interface Service {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  readonly builtIn: boolean;
  readonly extra: JsonMap;
}

export type Interface = 'public' | 'internal' | 'admin';

export interface Endpoint {
  readonly id: string;
  readonly serviceId: string;
  readonly interface: Interface;
  readonly regionId: string | null;
  /** Of one that is built in: the path below the address that clients call this server by. */
  readonly url: string;
  readonly enabled: boolean;
  readonly builtIn: boolean;
  readonly extra: JsonMap;
}

/** One endpoint as a token shows it. */
export interface CatalogEntry {
  readonly serviceId: string;
  readonly type: string;
  readonly name: string;
  readonly endpointId: string;
  readonly interface: string;
  readonly regionId: string | null;
  readonly url: string;
  readonly builtIn: boolean;
}

/** What this server offers itself. */
export interface BuiltInCatalog {
  readonly regions: readonly Region[];
  readonly services: readonly Service[];
  readonly endpoints: readonly Endpoint[];
}
