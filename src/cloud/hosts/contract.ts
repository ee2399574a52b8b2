/**
 * The services and the one backend that operators see. They are parts of one process here; the names are Block Storage's, because clients
 * look for them.
 */
import type { StringMap, Timestamp } from '../database/service.ts';

export const hostName = 'stillpoint';
export const backendName = 'layered-files';
/** The host of `cinder-volume`. */
export const backendHost = `${hostName}@${backendName}`;
/** The host of every volume. */
export const poolHost = `${backendHost}#pool`;

export const serviceBinaries = ['cinder-scheduler', 'cinder-volume', 'cinder-backup'] as const;
export type ServiceBinary = (typeof serviceBinaries)[number];

export interface ServiceView {
  readonly binary: ServiceBinary;
  readonly host: string;
  readonly disabled: boolean;
  readonly disabledReason: string | null;
  /** Of the volume service only: nothing is to be managed, the data stay reachable. */
  readonly frozen: boolean;
  readonly updatedAt: Timestamp;
}

export interface ServiceQuery {
  /** `name`, or `name@backend`. Undefined: all. */
  readonly host: string | undefined;
  readonly binary: string | undefined;
}

export type CapabilityValue = string | number | boolean;
export type Capabilities = { readonly [name: string]: CapabilityValue };

export interface Pool {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly timestamp: Timestamp;
}

/** The file system that volumes lie on, in bytes. */
export interface Capacity {
  readonly totalBytes: number;
  /** What new data may take. */
  readonly freeBytes: number;
}

/** What one project (or all, when null) has on the host. */
export interface HostShare {
  readonly projectId: string | null;
  readonly volumeCount: number;
  readonly volumeGib: number;
  readonly snapshotCount: number;
  readonly snapshotGib: number;
}

/** What asks whether there is somewhere to put a volume of a type. */
export type ExtraSpecs = StringMap;

/** What servers take of the machine. */
export interface MachineLoad {
  readonly servers: number;
  readonly vcpus: number;
  readonly ramMib: number;
}
