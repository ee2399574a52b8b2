/** What Block Storage answers when a quota says no, word for word: clients show it, and some look for the name in front. */
import { badRequest, overLimit, type ProductError } from '../../lib/errors.ts';

export interface Excess {
  readonly key: string;
  readonly requested: number;
  readonly inUse: number;
  readonly limit: number;
}

export function refusalOf({ key, requested, inUse, limit }: Excess): ProductError {
  const consumed = `Requested ${requested}G, quota is ${limit}G and ${inUse}G has been consumed.`;
  if (key === 'per_volume_gigabytes') {
    return overLimit(`VolumeSizeExceedsLimit: Requested volume size ${requested}G is larger than maximum allowed limit ${limit}G.`);
  }
  if (key === 'backup_gigabytes') {
    return overLimit(`VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. ${consumed}`);
  }
  if (key === 'groups') return overLimit(`GroupLimitExceeded: Maximum number of groups allowed (${limit}) exceeded`);
  if (key === 'backups') return overLimit(`BackupLimitExceeded: Maximum number of backups allowed (${limit}) exceeded`);
  if (key.startsWith('gigabytes')) {
    return overLimit(`VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed ${key} quota. ${consumed}`);
  }
  if (key.startsWith('snapshots')) return overLimit(`SnapshotLimitExceeded: Maximum number of snapshots allowed (${limit}) exceeded`);
  if (key.startsWith('volumes')) {
    return overLimit(`VolumeLimitExceeded: Maximum number of volumes allowed (${limit}) exceeded for quota '${key}'.`);
  }
  return overLimit(`UnexpectedOverQuota: Unexpected over quota on ${key}.`);
}

export function belowUsage(key: string, inUse: number, limit: number): ProductError {
  return badRequest(
    `Quota ${key} limit must be equal or greater than existing resources. Current usage is ${inUse} and the requested limit is ${limit}.`,
  );
}

export function badKeys(what: 'quota set' | 'quota class set', keys: readonly string[]): ProductError {
  return badRequest(`Invalid input received: Bad key(s) in ${what}: ${keys.join(', ')}`);
}

export function badLimit(key: string): ProductError {
  return badRequest(`Invalid input received: ${key} must be an integer from -1 to ${2 ** 31 - 1}`);
}
