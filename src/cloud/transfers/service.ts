/**
 * Giving a volume to another project: the giver makes a transfer and hands its key over, whoever shows the key owns the volume.
 *
 * No byte moves, so each request is one transaction. Snapshots go along unless the giver says otherwise; those that stay keep the volume from being
 * deleted until their owner has deleted them. Backups stay with the project that made them.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { badRequest, notFound } from '../../lib/errors.ts';
import { isUuid, newId } from '../../lib/ids.ts';
import type { ListQuery } from '../database/lists.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee, projectOfList } from '../identity/policy.ts';
import type { Quotas } from '../quotas/service.ts';
import type { Snapshot, SnapshotsForTransfers } from '../snapshots/service.ts';
import type { Volume, VolumesForTransfers } from '../volumes/service.ts';
import type { Transfer, TransferColumn } from './contract.ts';
import { deleteTransfer, findTransfer, insertTransfer, listTransfers, lockTransfer } from './store.ts';

export interface TransferOrder {
  readonly volumeId: string;
  readonly name: string | null;
  readonly noSnapshots: boolean;
}

export interface TransferQuery extends Omit<ListQuery<TransferColumn>, 'projectId' | 'markerId'> {
  readonly allProjects: boolean;
  readonly marker: string | undefined;
}

export interface TransfersService {
  list(caller: Caller, query: TransferQuery): Promise<Transfer[]>;
  get(caller: Caller, id: string): Promise<Transfer>;
  /** The key is told this once. */
  create(caller: Caller, order: TransferOrder): Promise<Transfer & { readonly authKey: string }>;
  /** The caller's project owns the volume afterwards. */
  accept(caller: Caller, id: string, authKey: string): Promise<Transfer>;
  /** The volume is available again, and its key worthless. */
  delete(caller: Caller, id: string): Promise<void>;
}

export interface TransfersDeps {
  readonly database: Database;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly volumes: VolumesForTransfers;
  readonly snapshots: SnapshotsForTransfers;
}

const authKeyBytes = 8;
const missing = (id: string) => notFound(`Transfer ${id} could not be found.`);
/** The id is the salt. The key is random through and through, so that a fast hash is good enough. */
const hashOf = (id: string, authKey: string): Buffer => createHash('sha256').update(`${id} ${authKey}`).digest();

export function createTransfersService(deps: TransfersDeps): TransfersService {
  const { database, volumes } = deps;

  async function visible(caller: Caller, id: string, action: Action): Promise<Transfer> {
    const transfer = isUuid(id) ? await findTransfer(database.sql, id) : undefined;
    if (transfer === undefined || !canSee(caller, transfer)) throw missing(id);
    authorise(caller, action, transfer);
    return transfer;
  }

  return {
    async list(caller, query) {
      authorise(caller, 'transfer:list', { projectId: caller.projectId });
      if (query.marker !== undefined) await visible(caller, query.marker, 'transfer:get');
      const projectId = projectOfList(caller, query.allProjects);
      return query.limit === 0 ? [] : await listTransfers(database.sql, { ...query, projectId, markerId: query.marker });
    },
    get: (caller, id) => visible(caller, id, 'transfer:get'),
    create: (caller, order) => database.transact((tx) => begin(deps, tx, caller, order)),
    accept: (caller, id, authKey) => database.transact((tx) => accept(deps, tx, caller, id, authKey)),
    async delete(caller, id) {
      const { volumeId } = await visible(caller, id, 'transfer:delete');
      await database.transact(async (tx) => {
        await volumes.lockAny(tx, volumeId);
        if ((await lockTransfer(tx.sql, id)) === undefined) throw missing(id);
        await volumes.end(tx, volumeId);
        await deleteTransfer(tx.sql, id);
      });
    },
  };
}

async function begin(deps: TransfersDeps, tx: Tx, caller: Caller, order: TransferOrder): Promise<Transfer & { authKey: string }> {
  const volume = await deps.volumes.lock(tx, caller, order.volumeId);
  authorise(caller, 'transfer:create', volume);
  if (volume.groupId !== null || volume.attachments.length > 0 || volume.status !== 'available') {
    throw badRequest(`Invalid volume: Invalid volume status: status must be available, and the volume neither attached nor in a group.`);
  }
  if (!order.noSnapshots) checkSnapshots(await deps.snapshots.lockOf(tx, volume));
  await deps.volumes.begin(tx, volume.id);
  const authKey = randomBytes(authKeyBytes).toString('hex');
  const id = newId();
  const { name, noSnapshots } = order;
  await insertTransfer(tx.sql, {
    id,
    volumeId: volume.id,
    projectId: volume.projectId,
    name,
    noSnapshots,
    keyHash: hashOf(id, authKey),
  });
  return { ...((await findTransfer(tx.sql, id)) as Transfer), authKey };
}

/** A snapshot that is in the middle of something, or a part of a group snapshot, cannot change hands. */
function checkSnapshots(snapshots: readonly Snapshot[]): void {
  const stuck = snapshots.find(({ status, groupSnapshotId }) => status !== 'available' || groupSnapshotId !== null);
  if (stuck !== undefined)
    throw badRequest(`Invalid snapshot: Snapshot ${stuck.id} must be available and in no group snapshot to be transferred.`);
}

async function accept(deps: TransfersDeps, tx: Tx, caller: Caller, id: string, authKey: string): Promise<Transfer> {
  const receiver = caller.projectId;
  if (receiver === null) throw badRequest('Malformed request url');
  authorise(caller, 'transfer:accept', { projectId: receiver });
  const found = isUuid(id) ? await findTransfer(tx.sql, id) : undefined;
  // The volume's row first, as everywhere.
  const volume = found === undefined ? undefined : await deps.volumes.lockAny(tx, found.volumeId);
  const transfer = isUuid(id) ? await lockTransfer(tx.sql, id) : undefined;
  if (transfer === undefined || volume === undefined) throw missing(id);
  if (!timingSafeEqual(hashOf(id, authKey), transfer.keyHash)) {
    throw badRequest(`Invalid auth key: Attempt to transfer ${id} with invalid auth key.`);
  }
  const snapshots = transfer.noSnapshots ? [] : await deps.snapshots.lockOf(tx, volume);
  checkSnapshots(snapshots);
  if (receiver !== volume.projectId) await deps.quotas.reserve(tx, receiver, quotaOf(volume, snapshots));
  const owner = { projectId: receiver, userId: caller.userId };
  if (!(await deps.volumes.end(tx, volume.id, owner))) {
    throw badRequest(`Invalid volume: Volume ${volume.id} must be awaiting-transfer, but its status is ${volume.status}.`);
  }
  if (!transfer.noSnapshots) await deps.snapshots.giveTo(tx, volume, owner);
  await deleteTransfer(tx.sql, id);
  return transfer;
}

function quotaOf({ sizeGib, volumeType: { name } }: Volume, snapshots: readonly Snapshot[]): Record<string, number> {
  const gigabytes = snapshots.reduce((sum, snapshot) => sum + snapshot.sizeGib, sizeGib);
  return {
    volumes: 1,
    [`volumes_${name}`]: 1,
    gigabytes,
    [`gigabytes_${name}`]: gigabytes,
    per_volume_gigabytes: sizeGib,
    ...(snapshots.length > 0 && { snapshots: snapshots.length, [`snapshots_${name}`]: snapshots.length }),
  };
}
