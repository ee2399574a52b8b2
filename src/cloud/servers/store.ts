/** The only SQL on `servers`. States change by compare-and-set on the table of tasks. */
import { type Kysely, sql } from 'kysely';
import { type Condition, listSql } from '../database/lists.ts';
import { json, type Schema, type StringMap } from '../database/service.ts';
import type { MachineLoad } from '../hosts/contract.ts';
import type { MachineUsage, QuotaOwner } from '../quotas/contract.ts';
import { type DiskConfig, type Server, type ServerFlavor, type ServerListQuery, serverColumns } from './contract.ts';
import { type PowerState, type TaskName, type TaskState, tasks, type VmState } from './states.ts';

export type Queries = Kysely<Schema>;

const now = sql<string>`clock_timestamp()`;

const fields = sql.raw(`
  servers.id, servers.project_id AS "projectId", servers.user_id AS "userId", servers.name, servers.description, servers.hostname,
  servers.access_ip_v4 AS "accessIpV4", servers.access_ip_v6 AS "accessIpV6",
  servers.vm_state AS "vmState", servers.task_state AS "taskState", servers.power_state AS "powerState", servers.is_locked AS "isLocked",
  servers.lock_reason AS "lockReason", servers.flavor, servers.image_id AS "imageId", servers.image_properties AS "imageProperties",
  servers.key_name AS "keyName", servers.public_key AS "publicKey", servers.user_data AS "userData", servers.has_config_drive AS "hasConfigDrive",
  servers.metadata, servers.tags, servers.disk_config AS "diskConfig", servers.availability_zone AS "availabilityZone",
  servers.reservation_id AS "reservationId", servers.launch_index AS "launchIndex",
  CASE WHEN servers.fault_code IS NOT NULL THEN json_build_object('code', servers.fault_code, 'message', servers.fault_message,
    'at', to_char(servers.fault_at, 'YYYY-MM-DD"T"HH24:MI:SS.US')) END AS fault,
  CASE WHEN servers.machine_id IS NOT NULL THEN json_build_object('id', servers.machine_id, 'processId', servers.process_id) END AS machine,
  servers.frozen_at IS NOT NULL AS "isFrozen", servers.launched_at AS "launchedAt", servers.created_at AS "createdAt", servers.updated_at AS "updatedAt",
  coalesce((SELECT json_agg(json_build_object('volumeId', volume_id, 'attachmentId', attachment_id, 'device', device, 'bootIndex', boot_index,
      'isLocal', is_local, 'deleteOnTermination', delete_on_termination, 'tag', tag, 'isLeaving', is_leaving) ORDER BY device)
    FROM server_disks WHERE server_id = servers.id), '[]') AS disks`);

export async function findServer(db: Queries, id: string): Promise<Server | undefined> {
  return (await sql<Server>`SELECT ${fields} FROM servers WHERE servers.id = ${id}`.execute(db)).rows[0];
}

/** Locks the row until the end of the transaction. Servers are locked before the volumes that are attached to them. */
export async function lockServer(db: Queries, id: string): Promise<Server | undefined> {
  // Two statements: what belongs to the row may have changed while the first one waited.
  await sql`SELECT FROM servers WHERE id = ${id} FOR UPDATE`.execute(db);
  return await findServer(db, id);
}

export async function listServers(db: Queries, list: ServerListQuery): Promise<Server[]> {
  const { page, order } = listSql('servers', serverColumns, list, conditionsOf(list));
  const { rows } = await sql<Server>`SELECT ${fields} FROM (SELECT * FROM servers ${page}) AS servers ORDER BY ${order}`.execute(db);
  return rows;
}

function conditionsOf({ namePattern, flavorId, tags }: ServerListQuery): Condition[] {
  const conditions: Condition[] = [];
  if (namePattern !== undefined) conditions.push(sql<boolean>`servers.name ~ ${namePattern}`);
  if (flavorId !== undefined) conditions.push(sql<boolean>`servers.flavor ->> 'id' = ${flavorId}`);
  const asked = (names: readonly string[]) => sql`${[...names]}::text[]`;
  if (tags.all !== undefined) conditions.push(sql<boolean>`servers.tags @> ${asked(tags.all)}`);
  if (tags.any !== undefined) conditions.push(sql<boolean>`servers.tags && ${asked(tags.any)}`);
  if (tags.notAll !== undefined) conditions.push(sql<boolean>`NOT servers.tags @> ${asked(tags.notAll)}`);
  if (tags.notAny !== undefined) conditions.push(sql<boolean>`NOT servers.tags && ${asked(tags.notAny)}`);
  return conditions;
}

/** Those that a process runs, or was about to. */
export async function serversWithMachines(db: Queries): Promise<Server[]> {
  const { rows } = await sql<Server>`SELECT ${fields} FROM servers WHERE servers.machine_id IS NOT NULL ORDER BY servers.id`.execute(db);
  return rows;
}

/** What the servers of a project take, or those of one of its users. */
export async function usageOf(db: Queries, { projectId, userId }: QuotaOwner): Promise<MachineUsage> {
  const ofUser = userId === undefined ? sql`true` : sql`user_id = ${userId}`;
  const { rows } = await sql<MachineUsage>`
    SELECT count(*) AS instances, coalesce(sum((flavor ->> 'vcpus')::integer), 0)::bigint AS cores,
      coalesce(sum((flavor ->> 'ramMib')::integer), 0)::bigint AS ram
    FROM servers WHERE project_id = ${projectId} AND ${ofUser}`.execute(db);
  return rows[0] ?? { instances: 0, cores: 0, ram: 0 };
}

/** Those that have any of these volumes, in one order. */
export async function serversOfVolumes(db: Queries, volumeIds: readonly string[]): Promise<Server[]> {
  const { rows } = await sql<Server>`
    SELECT ${fields} FROM servers WHERE servers.id IN (SELECT server_id FROM server_disks WHERE volume_id = ANY(${[...volumeIds]}::uuid[]))
    ORDER BY servers.id`.execute(db);
  return rows;
}

/** Whether its guest may be frozen. */
export async function setFrozen(db: Queries, id: string, isFrozen: boolean): Promise<void> {
  await db
    .updateTable('servers')
    .set({ frozen_at: isFrozen ? now : null })
    .where('id', '=', id)
    .execute();
}

/** What the machines that run take of this host. */
export async function loadOf(db: Queries): Promise<MachineLoad> {
  const { rows } = await sql<MachineLoad>`
    SELECT count(*) AS servers, coalesce(sum((flavor ->> 'vcpus')::integer), 0)::bigint AS vcpus,
      coalesce(sum((flavor ->> 'ramMib')::integer), 0)::bigint AS "ramMib"
    FROM servers WHERE machine_id IS NOT NULL`.execute(db);
  return rows[0] ?? { servers: 0, vcpus: 0, ramMib: 0 };
}

export interface NewServer {
  readonly id: string;
  readonly projectId: string;
  readonly userId: string;
  readonly name: string;
  readonly description: string | null;
  readonly hostname: string;
  readonly accessIpV4: string;
  readonly accessIpV6: string;
  readonly flavor: ServerFlavor;
  readonly imageId: string | null;
  readonly imageProperties: StringMap;
  readonly keyName: string | null;
  readonly publicKey: string | null;
  readonly userData: string | null;
  readonly hasConfigDrive: boolean;
  readonly metadata: StringMap;
  readonly tags: readonly string[];
  readonly diskConfig: DiskConfig;
  readonly availabilityZone: string;
  readonly reservationId: string;
  readonly launchIndex: number;
}

export async function insertServer(db: Queries, server: NewServer): Promise<void> {
  await db
    .insertInto('servers')
    .values({
      id: server.id,
      project_id: server.projectId,
      user_id: server.userId,
      name: server.name,
      description: server.description,
      hostname: server.hostname,
      access_ip_v4: server.accessIpV4,
      access_ip_v6: server.accessIpV6,
      vm_state: 'building',
      task_state: 'scheduling',
      flavor: json(server.flavor),
      image_id: server.imageId,
      image_properties: json(server.imageProperties),
      key_name: server.keyName,
      public_key: server.publicKey,
      user_data: server.userData,
      has_config_drive: server.hasConfigDrive,
      metadata: json(server.metadata),
      tags: [...server.tags],
      disk_config: server.diskConfig,
      availability_zone: server.availabilityZone,
      reservation_id: server.reservationId,
      launch_index: server.launchIndex,
    })
    .execute();
}

export interface ServerChanges {
  readonly name?: string;
  readonly description?: string | null;
  readonly hostname?: string;
  readonly accessIpV4?: string;
  readonly accessIpV6?: string;
  readonly metadata?: StringMap;
  readonly tags?: readonly string[];
  readonly diskConfig?: DiskConfig;
  readonly lock?: { readonly reason: string | null } | null;
  readonly powerState?: PowerState;
  readonly fault?: { readonly code: number; readonly message: string } | null;
  readonly machine?: { readonly id: string; readonly processId: number | null } | null;
  readonly isLaunched?: true;
}

const changedColumns = (changes: ServerChanges) => ({
  ...(changes.name !== undefined && { name: changes.name }),
  ...(changes.description !== undefined && { description: changes.description }),
  ...(changes.hostname !== undefined && { hostname: changes.hostname }),
  ...(changes.accessIpV4 !== undefined && { access_ip_v4: changes.accessIpV4 }),
  ...(changes.accessIpV6 !== undefined && { access_ip_v6: changes.accessIpV6 }),
  ...(changes.metadata !== undefined && { metadata: json(changes.metadata) }),
  ...(changes.tags !== undefined && { tags: [...changes.tags] }),
  ...(changes.diskConfig !== undefined && { disk_config: changes.diskConfig }),
  ...(changes.lock !== undefined && { is_locked: changes.lock !== null, lock_reason: changes.lock?.reason ?? null }),
  ...(changes.powerState !== undefined && { power_state: changes.powerState }),
  ...(changes.fault !== undefined && {
    fault_code: changes.fault?.code ?? null,
    fault_message: changes.fault?.message ?? null,
    fault_at: changes.fault === null ? null : now,
  }),
  ...(changes.machine !== undefined && { machine_id: changes.machine?.id ?? null, process_id: changes.machine?.processId ?? null }),
  ...(changes.isLaunched !== undefined && { launched_at: now }),
  updated_at: now,
});

/** Changes what is no state. */
export async function updateServer(db: Queries, id: string, changes: ServerChanges): Promise<void> {
  await db.updateTable('servers').set(changedColumns(changes)).where('id', '=', id).execute();
}

/** Begins a task of the table, compare-and-set. False: the server is not in a state that it may begin in, or is gone. */
export async function beginTask(db: Queries, id: string, name: TaskName): Promise<boolean> {
  const { from, task } = tasks[name];
  let update = db
    .updateTable('servers')
    .set({ task_state: task, updated_at: now })
    .where('id', '=', id)
    .where('vm_state', 'in', [...from]);
  if (!('interrupts' in tasks[name])) update = update.where('task_state', 'is', null);
  return (await update.executeTakeFirst()).numUpdatedRows > 0n;
}

/** The next word for the same task. */
export async function changeTask(db: Queries, id: string, from: TaskState, to: TaskState): Promise<void> {
  await db.updateTable('servers').set({ task_state: to, updated_at: now }).where('id', '=', id).where('task_state', '=', from).execute();
}

type TaskEnd = ServerChanges & { readonly vmState?: VmState };

const taskEnd = ({ vmState, ...others }: TaskEnd) => ({
  ...changedColumns(others),
  ...(vmState !== undefined && { vm_state: vmState }),
  task_state: null,
});

/** Ends a task, whose words those are. False: somebody has interrupted it. */
export async function endTask(db: Queries, id: string, own: readonly TaskState[], changes: TaskEnd = {}): Promise<boolean> {
  const ended = await db
    .updateTable('servers')
    .set(taskEnd(changes))
    .where('id', '=', id)
    .where('task_state', 'in', [...own])
    .executeTakeFirst();
  return ended.numUpdatedRows > 0n;
}

/** The same for a task that failed, and was undone; it may have failed after its end. */
export async function failTask(db: Queries, id: string, own: readonly TaskState[], changes: TaskEnd): Promise<void> {
  await db
    .updateTable('servers')
    .set(taskEnd(changes))
    .where('id', '=', id)
    .where(({ eb, or }) => or([eb('task_state', 'is', null), eb('task_state', 'in', [...own])]))
    .execute();
}

/** The server stopped by itself, while nothing was being done to it: its machine has ended. */
export async function settleStopped(db: Queries, id: string, changes: ServerChanges): Promise<void> {
  await db
    .updateTable('servers')
    .set({
      ...changedColumns({ ...changes, machine: null }),
      vm_state: sql<VmState>`CASE WHEN vm_state IN ('active', 'paused') THEN 'stopped' ELSE vm_state END`,
    })
    .where('id', '=', id)
    .where('task_state', 'is', null)
    .execute();
}

/** An administrator's word. */
export async function setVmState(db: Queries, id: string, vmState: VmState): Promise<void> {
  await db.updateTable('servers').set({ vm_state: vmState, task_state: null, updated_at: now }).where('id', '=', id).execute();
}

export async function deleteServer(db: Queries, id: string): Promise<void> {
  await db.deleteFrom('servers').where('id', '=', id).execute();
}
