/** Changes of a volume that need no saga, and growing it. Each locks the row, looks, and changes, in one transaction. */
import { badRequest } from '../../lib/errors.ts';
import { changedPairs, type PairsChange } from '../../lib/pairs.ts';
import type { Database, StringMap, Tx } from '../database/service.ts';
import { poolHost } from '../hosts/contract.ts';
import type { Placement } from '../hosts/service.ts';
import type { Caller } from '../identity/caller.ts';
import type { Action } from '../identity/policy.ts';
import type { Jobs } from '../jobs/service.ts';
import type { Quotas } from '../quotas/service.ts';
import type { TypeChoice } from '../volume-types/service.ts';
import { lockedVolume } from './access.ts';
import { deleteAttachments } from './attachment-store.ts';
import type { Volume } from './contract.ts';
import { type ExtendInput, extendKind } from './extend.job.ts';
import { volumeSizeGibMax } from './sizes.ts';
import { can, isVolumeStatus, type VolumeStatus } from './states.ts';
import { findVolume, move, setStatus, updateVolume, type VolumeChanges } from './store.ts';
import { checkSizeOfType } from './type-limits.ts';

export interface ChangesDeps {
  readonly database: Database;
  readonly jobs: Pick<Jobs, 'start'>;
  readonly quotas: Pick<Quotas, 'reserve'>;
  readonly types: TypeChoice;
  readonly placement: Pick<Placement, 'takesVolume'>;
}

export interface ResetOrder {
  readonly status: string | null;
  readonly attachStatus: 'attached' | 'detached' | null;
}

export interface VolumeChangesService {
  update(caller: Caller, id: string, changes: { name?: string | null; description?: string | null; metadata?: StringMap }): Promise<Volume>;
  /** Returns all of it afterwards. What `condition` throws about what there is before stands against the change. */
  changeMetadata(caller: Caller, id: string, change: PairsChange, condition?: (current: StringMap) => void): Promise<StringMap>;
  changeImageMetadata(caller: Caller, id: string, change: PairsChange): Promise<StringMap>;
  setBootable(caller: Caller, id: string, bootable: boolean): Promise<void>;
  setReadonly(caller: Caller, id: string, readonly: boolean): Promise<void>;
  extend(caller: Caller, id: string, newSizeGib: number): Promise<void>;
  /** By id or name of the type. Every type here is of the one backend, so no byte moves. */
  retype(caller: Caller, id: string, newType: string): Promise<void>;
  /** There is nowhere else to go: refused as a deployment with one backend refuses it. */
  migrate(caller: Caller, id: string, host: string | null): Promise<void>;
  /** A disk cannot live without its row. */
  unmanage(caller: Caller, id: string): Promise<void>;
  resetStatus(caller: Caller, id: string, order: ResetOrder): Promise<void>;
}

export function createVolumeChanges(deps: ChangesDeps): VolumeChangesService {
  const { database } = deps;
  const locked = <T>(caller: Caller, id: string, action: Action, work: (tx: Tx, volume: Volume) => Promise<T>): Promise<T> =>
    database.transact(async (tx) => await work(tx, await lockedVolume(tx, caller, id, action)));
  const change = (caller: Caller, id: string, changes: VolumeChanges): Promise<void> =>
    locked(caller, id, 'volume:update', (tx) => updateVolume(tx.sql, id, changes));

  return {
    update: (caller, id, changes) =>
      locked(caller, id, 'volume:update', async (tx) => {
        await updateVolume(tx.sql, id, changes);
        return (await findVolume(tx.sql, id)) as Volume;
      }),
    changeMetadata: (caller, id, asked, condition) =>
      locked(caller, id, 'volume:update', async (tx, volume) => {
        condition?.(volume.metadata);
        const metadata = changedPairs(volume.metadata, asked);
        await updateVolume(tx.sql, id, { metadata });
        return metadata;
      }),
    changeImageMetadata: (caller, id, asked) =>
      locked(caller, id, 'volume:update', async (tx, volume) => {
        const imageMetadata = changedPairs(volume.imageMetadata, asked);
        await updateVolume(tx.sql, id, { imageMetadata });
        return imageMetadata;
      }),
    setBootable: (caller, id, bootable) => change(caller, id, { bootable }),
    setReadonly: (caller, id, readonly) =>
      locked(caller, id, 'volume:update', async (tx, volume) => {
        if (volume.status !== 'available') {
          throw badRequest(
            `Invalid volume: Volume ${id} status must be available to update readonly flag, but current status is: ${volume.status}.`,
          );
        }
        await updateVolume(tx.sql, id, { readonly });
      }),
    extend: (caller, id, newSizeGib) => locked(caller, id, 'volume:extend', (tx, volume) => extend(deps, tx, caller, volume, newSizeGib)),
    retype: (caller, id, newType) => locked(caller, id, 'volume:retype', (tx, volume) => retype(deps, tx, caller, volume, newType)),
    migrate: (caller, id, host) =>
      locked(caller, id, 'volume:migrate', async () => {
        if (host !== poolHost) throw badRequest(`Invalid host: No available service named '${host ?? ''}'.`);
        throw badRequest('Invalid host: Destination host must be different than the current host.');
      }),
    unmanage: (caller, id) =>
      locked(caller, id, 'volume:manage', async () => {
        throw badRequest('Invalid volume: The volume backend does not support unmanaging volumes.');
      }),
    resetStatus: (caller, id, order) => locked(caller, id, 'volume:reset_status', (tx, volume) => reset(tx, volume, order)),
  };
}

async function extend({ jobs, quotas, types }: ChangesDeps, tx: Tx, caller: Caller, volume: Volume, newSizeGib: number): Promise<void> {
  const { id, sizeGib, status, projectId } = volume;
  if (status !== 'available' || volume.attachments.length > 0) {
    throw badRequest(`Invalid volume: Volume ${id} status must be '('available',)' to extend, currently ${status}.`);
  }
  if (newSizeGib <= sizeGib) {
    throw badRequest(
      `Invalid input received: New size for extend must be greater than current size. (current: ${sizeGib}, extended: ${newSizeGib}).`,
    );
  }
  if (newSizeGib > volumeSizeGibMax) throw badRequest(`Invalid input received: Volumes are at most ${volumeSizeGibMax}GB.`);
  checkSizeOfType(await types.byId(tx, volume.volumeType.id), newSizeGib);
  const added = newSizeGib - sizeGib;
  await quotas.reserve(tx, projectId, {
    gigabytes: added,
    [`gigabytes_${volume.volumeType.name}`]: added,
    per_volume_gigabytes: newSizeGib,
  });
  await move(tx.sql, id, 'extendBegun', { sizeGib: newSizeGib });
  const input: ExtendInput = { volumeId: id, oldSizeGib: sizeGib, newSizeGib };
  await jobs.start(tx, { kind: extendKind, subjectId: id, projectId, input, requestId: caller.requestId });
}

async function retype({ quotas, types, placement }: ChangesDeps, tx: Tx, caller: Caller, volume: Volume, newType: string): Promise<void> {
  const { id, projectId, sizeGib } = volume;
  if (!can.retype(volume)) {
    throw badRequest(
      `Invalid volume: Volume ${id} status must be available or in-use to retype, but the current status is ${volume.status}.`,
    );
  }
  if (volume.groupId !== null) throw badRequest(`Invalid volume: Volume ${id} must not be part of a group to retype.`);
  const type = await types.choose(tx, caller, { asked: newType, fromSource: null });
  if (type.id === volume.volumeType.id) throw badRequest(`Invalid input received: New volume_type same as original: ${type.id}.`);
  checkSizeOfType(type, sizeGib);
  if (!(await placement.takesVolume(tx.sql, type.extraSpecs))) {
    throw badRequest('Invalid volume: No valid backend was found. No weighed backends available');
  }
  await quotas.reserve(tx, projectId, { [`volumes_${type.name}`]: 1, [`gigabytes_${type.name}`]: sizeGib });
  await updateVolume(tx.sql, id, { volumeTypeId: type.id });
}

async function reset(tx: Tx, volume: Volume, { status, attachStatus }: ResetOrder): Promise<void> {
  const attached = volume.attachments.length > 0 && attachStatus !== 'detached';
  if (attachStatus === 'attached' && volume.attachments.length === 0) {
    throw badRequest('Invalid volume: Invalid attach_status: the volume has no attachment.');
  }
  const wanted = status === null ? null : checkedStatus(status, attached);
  if (attachStatus === 'detached') await deleteAttachments(tx.sql, volume.id);
  if (wanted !== null) await setStatus(tx.sql, volume.id, wanted);
  else if (attachStatus === 'detached' && volume.status === 'in-use') await setStatus(tx.sql, volume.id, 'available');
}

/** Texts in any case, as clients send them. `deleting` would lie: nothing deletes. */
function checkedStatus(text: string, attached: boolean): VolumeStatus {
  const status = text.toLowerCase();
  if (!isVolumeStatus(status) || status === 'deleting') {
    throw badRequest(`Invalid volume: Invalid volume status: ${text}`);
  }
  if (status === 'in-use' && !attached) {
    throw badRequest("Invalid volume: Status 'in-use' needs an attachment.");
  }
  return status;
}
