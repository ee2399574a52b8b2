import type { ListColumn, ListQuery } from '../database/lists.ts';
import type { Database, StringMap, Timestamp, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';

export interface VolumeType {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly isPublic: boolean;
  readonly extraSpecs: StringMap;
  readonly qosSpecsId: string | null;
}

/** The names under which lists may be sorted and filtered. */
export const typeColumns = {
  id: { column: 'id', kind: 'uuid' },
  name: { column: 'name', kind: 'text' },
  description: { column: 'description', kind: 'text', nullable: true },
  is_public: { column: 'is_public', kind: 'boolean' },
  qos_specs_id: { column: 'qos_specs_id', kind: 'uuid', nullable: true },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type TypeColumn = keyof typeof typeColumns;

export interface TypeListQuery extends Omit<ListQuery<TypeColumn>, 'projectId' | 'metadata' | 'markerId'> {
  readonly marker: string | undefined;
  /** Pairs that the extra specs must hold. */
  readonly extraSpecs: StringMap;
}

export interface TypeOrder {
  readonly name: string;
  readonly description: string | null;
  readonly isPublic: boolean;
  readonly extraSpecs: StringMap;
}

export interface TypeChanges {
  readonly name?: string;
  readonly description?: string | null;
  readonly isPublic?: boolean;
}

/** How disks of a type are to be encrypted. Kept for operators: no volume of such a type can be made here, for there is no key manager. */
export interface Encryption {
  readonly volumeTypeId: string;
  readonly encryptionId: string;
  readonly provider: string;
  readonly controlLocation: 'front-end' | 'back-end';
  readonly cipher: string | null;
  readonly keySize: number | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp | null;
}

export type EncryptionOrder = Pick<Encryption, 'provider' | 'controlLocation' | 'cipher' | 'keySize'>;

/** Limits on what servers may ask of volumes, by name; kept and handed on, for nothing here measures them. */
export interface QosSpecs {
  readonly id: string;
  readonly name: string;
  readonly consumer: QosConsumer;
  readonly specs: StringMap;
}

export const qosConsumers = ['front-end', 'back-end', 'both'] as const;
export type QosConsumer = (typeof qosConsumers)[number];

export const qosColumns = {
  id: { column: 'id', kind: 'uuid' },
  name: { column: 'name', kind: 'text' },
  consumer: { column: 'consumer', kind: 'text' },
  created_at: { column: 'created_at', kind: 'time' },
  updated_at: { column: 'updated_at', kind: 'time', nullable: true },
} as const satisfies Record<string, ListColumn>;

export type QosColumn = keyof typeof qosColumns;

export interface QosListQuery extends Omit<ListQuery<QosColumn>, 'projectId' | 'metadata' | 'markerId'> {
  readonly marker: string | undefined;
}

export interface DefaultType {
  readonly projectId: string;
  readonly volumeTypeId: string;
}

/** What volumes ask of their types, in the transaction of their request. */
export interface TypeChoice {
  /**
   * The type of a new volume of the caller's project: the one that was asked for (id or name), else what its source has (its id), else the
   * project's default, else the configured one. Its row is locked against deletion. 404 when the caller asked for one that is not for them;
   * 400 when its disks would have to be encrypted.
   */
  choose(tx: Tx, caller: Caller, wanted: { readonly asked: string | null; readonly fromSource: string | null }): Promise<VolumeType>;
  /** The type itself, whoever asks. */
  byId(database: Pick<Database, 'sql'>, id: string): Promise<VolumeType>;
}
