/** The SQL of services and hosts. What a host carries is counted from the rows of volumes and snapshots themselves. */
import { type Kysely, sql } from 'kysely';
import type { Schema } from '../database/service.ts';
import type { HostShare, ServiceBinary } from './contract.ts';

type Queries = Kysely<Schema>;

export interface ServiceState {
  readonly host: string;
  readonly binary: string;
  readonly disabled: boolean;
  readonly disabledReason: string | null;
  readonly frozen: boolean;
  /** Of Compute's service only: it is gone, whatever it says of itself. */
  readonly forcedDown: boolean;
}

export async function readStates(db: Queries): Promise<ServiceState[]> {
  return await db
    .selectFrom('service_states')
    .select(['host', 'binary_name as binary', 'disabled', 'disabled_reason as disabledReason', 'frozen', 'forced_down as forcedDown'])
    .execute();
}

export async function isDisabled(db: Queries, host: string, binary: ServiceBinary): Promise<boolean> {
  const row = await db
    .selectFrom('service_states')
    .select('disabled')
    .where('host', '=', host)
    .where('binary_name', '=', binary)
    .executeTakeFirst();
  return row?.disabled ?? false;
}

type Marks = Pick<ServiceState, 'frozen' | 'forcedDown'>;

/** A mark that is left out stays as it was. */
export async function writeState(db: Queries, state: Omit<ServiceState, keyof Marks> & Partial<Marks>): Promise<void> {
  const changed = {
    disabled: state.disabled,
    disabled_reason: state.disabledReason,
    ...(state.frozen !== undefined && { frozen: state.frozen }),
    ...(state.forcedDown !== undefined && { forced_down: state.forcedDown }),
  };
  await db
    .insertInto('service_states')
    .values({ host: state.host, binary_name: state.binary, ...changed })
    .onConflict((conflict) => conflict.columns(['host', 'binary_name']).doUpdateSet(changed))
    .execute();
}

export async function provisionedGib(db: Queries): Promise<number> {
  const { rows } = await sql<{ gib: number }>`SELECT coalesce(sum(size_gib), 0)::bigint AS gib FROM volumes`.execute(db);
  return rows[0]?.gib ?? 0;
}

/** By project, the largest name last; snapshots count where they belong. */
export async function readShares(db: Queries): Promise<HostShare[]> {
  const { rows } = await sql<HostShare>`
    SELECT project_id AS "projectId", sum(volumes)::bigint AS "volumeCount", sum(volume_gib)::bigint AS "volumeGib",
      sum(snapshots)::bigint AS "snapshotCount", sum(snapshot_gib)::bigint AS "snapshotGib"
    FROM (
      SELECT project_id, 1 AS volumes, size_gib AS volume_gib, 0 AS snapshots, 0 AS snapshot_gib FROM volumes WHERE project_id <> ''
      UNION ALL SELECT project_id, 0, 0, 1, size_gib FROM snapshots
    ) AS parts GROUP BY project_id ORDER BY project_id`.execute(db);
  return rows;
}
