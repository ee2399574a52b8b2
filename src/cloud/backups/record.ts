/**
 * The record of a backup: what a database has to know to use a commit that lies in a repository, as text to keep elsewhere. Base64 of a JSON object
 * with the keys that every Block Storage writes; where the bytes are is in `driver_info`. It holds no secret: without the repository and its
 * key it is worth nothing.
 */
import { badRequest } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { StringMap, Timestamp } from '../database/service.ts';
import type { Backup, VolumeMeta } from './backup.ts';

export interface BackupRecord {
  /** Which program made it. */
  readonly service: string;
  readonly url: string;
}

/** What is used of a record. Everything but id and size may be missing or odd in one that somebody made. */
export interface RecordContent {
  readonly id: string;
  readonly sizeGib: number;
  readonly name: string | null;
  readonly description: string | null;
  readonly container: string | null;
  readonly objectCount: number;
  readonly volumeId: string | null;
  readonly parentId: string | null;
  readonly snapshotId: string | null;
  readonly dataTimestamp: Timestamp | null;
  readonly metadata: StringMap;
  /** Undefined: it does not say where the bytes are. */
  readonly place: RecordPlace | undefined;
}

export type RecordPlace = {
  readonly repositoryId: string;
  readonly domain: string;
  readonly session: string;
  readonly root: string;
  readonly volumeMeta: VolumeMeta;
};

export const recordService = 'cinder.backup.drivers.stillpoint.StillpointBackupDriver';

const gibMax = 2 ** 24;
const zoned = (time: Timestamp | null): string | null => (time === null ? null : `${time.slice(0, 19)}Z`);

export function recordOf(backup: Backup): BackupRecord {
  const { repositoryId, domain, session, root, volumeMeta } = backup;
  const content = {
    id: backup.id,
    user_id: backup.userId,
    project_id: backup.projectId,
    volume_id: backup.volumeId,
    snapshot_id: backup.snapshotId,
    parent_id: backup.parentId,
    display_name: backup.name,
    display_description: backup.description,
    status: backup.status,
    fail_reason: backup.failReason,
    container: backup.container,
    availability_zone: backup.availabilityZone,
    size: backup.sizeGib,
    object_count: backup.objectCount,
    metadata: backup.metadata,
    num_dependent_backups: backup.dependentCount,
    restore_volume_id: backup.restoreVolumeId,
    temp_volume_id: null,
    temp_snapshot_id: null,
    encryption_key_id: null,
    host: null,
    service: recordService,
    service_metadata: session,
    deleted: false,
    deleted_at: null,
    data_timestamp: zoned(backup.dataTimestamp),
    created_at: zoned(backup.createdAt),
    updated_at: zoned(backup.updatedAt),
    driver_info: { repository_id: repositoryId, domain, session, root, volume: volumeMeta },
  };
  return { service: recordService, url: Buffer.from(JSON.stringify(content)).toString('base64') };
}

const invalid = (why: string) => badRequest(`Invalid input received: Can't parse backup record: ${why}.`);

type Fields = { readonly [key: string]: unknown };
const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Throws the contract's 400 for what is no record. */
export function contentOf(url: string): RecordContent {
  const fields = decoded(url);
  const { id, size } = fields;
  if (typeof id !== 'string' || !isUuid(id)) throw invalid('it has no id');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 1 || size > gibMax) throw invalid('it has no size');
  for (const key of ['display_name', 'display_description', 'container', 'service_metadata', 'object_count']) {
    if (!Object.hasOwn(fields, key)) throw invalid(`it has no ${key}`);
  }
  const count = fields.object_count;
  return {
    id: id.toLowerCase(),
    sizeGib: size,
    name: textIn(fields.display_name, 255),
    description: textIn(fields.display_description, 255),
    container: textIn(fields.container, 255),
    objectCount: typeof count === 'number' && Number.isInteger(count) && count >= 0 && count < 2 ** 31 ? count : 0,
    volumeId: idIn(fields.volume_id),
    parentId: idIn(fields.parent_id),
    snapshotId: idIn(fields.snapshot_id),
    dataTimestamp: timeIn(fields.data_timestamp),
    metadata: pairsIn(fields.metadata),
    place: placeIn(fields.driver_info),
  };
}

function decoded(url: string): Fields {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(url)) throw invalid('it is not base64');
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(url, 'base64')));
  } catch {
    throw invalid('it holds no JSON');
  }
  if (!isFields(value)) throw invalid('it holds no object');
  return value;
}

function placeIn(value: unknown): RecordPlace | undefined {
  if (!isFields(value)) return undefined;
  const { repository_id: repositoryId, domain, session, root, volume } = value;
  const isPlace =
    idIn(repositoryId) !== null &&
    typeof domain === 'string' &&
    /^[\w.-]{1,64}$/.test(domain) &&
    typeof session === 'string' &&
    /^[0-9a-f]{32}$/.test(session) &&
    typeof root === 'string' &&
    /^[0-9a-f]{1,128}$/.test(root);
  return isPlace ? { repositoryId: repositoryId as string, domain, session, root, volumeMeta: volumeIn(volume) } : undefined;
}

function volumeIn(value: unknown): VolumeMeta {
  const fields = isFields(value) ? value : {};
  return {
    name: textIn(fields.name, 255),
    description: textIn(fields.description, 255),
    bootable: fields.bootable === true,
    metadata: pairsIn(fields.metadata),
    imageMetadata: pairsIn(fields.imageMetadata),
  };
}

/** No text of PostgreSQL holds a zero byte. */
const textIn = (value: unknown, max: number): string | null =>
  typeof value === 'string' && value.length <= max && !value.includes('\0') ? value : null;

const idIn = (value: unknown): string | null => (typeof value === 'string' && isUuid(value) ? value : null);

function pairsIn(value: unknown): StringMap {
  if (!isFields(value)) return {};
  const pairs = Object.entries(value).filter(
    (pair): pair is [string, string] => textIn(pair[0], 255) !== null && textIn(pair[1], 255) !== null,
  );
  return Object.fromEntries(pairs);
}

/** With or without a zone, which is UTC. */
function timeIn(value: unknown): Timestamp | null {
  const match = typeof value === 'string' ? /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(?:Z|\+00:00)?$/.exec(value) : null;
  if (match === null || match[1]?.startsWith('0000')) return null;
  const [, day = '', second = '', fraction = ''] = match;
  const isReal = !Number.isNaN(Date.parse(`${day}T${second}Z`)) && new Date(`${day}T${second}Z`).toISOString().startsWith(day);
  return isReal ? `${day}T${second}.${fraction.padEnd(6, '0')}` : null;
}
