/**
 * A tombstone: the object that ends a backup, or makes sure that a session never becomes one. A backup is live while its commit is there
 * and its tombstone is not. Only its name counts; the content tells people who wrote it when.
 */
import { FORMAT_VERSION, objectNames } from './format.ts';
import type { DomainKeys, Repository } from './repository.ts';
import { deriveKey, macOf } from './sealing.ts';
import { guarded } from './store-access.ts';

/** Repeatable: an existing tombstone is as good as a new one. */
export async function putTombstone(repository: Repository, keys: DomainKeys, session: string, at: string): Promise<void> {
  const objectName = objectNames.tombstone(session);
  const content = { format: 'stillpoint-tombstone', version: FORMAT_VERSION, domain: keys.domain, session, at };
  const mac = macOf(deriveKey(keys.macKey, 'tombstone', repository.id), JSON.stringify(content)).toString('hex');
  await guarded(objectName, () => repository.store.put(objectName, Buffer.from(`${JSON.stringify({ ...content, mac }, null, 2)}\n`)));
}

export async function isTombstoned(repository: Repository, session: string): Promise<boolean> {
  const objectName = objectNames.tombstone(session);
  return guarded(objectName, async () => (await repository.store.length(objectName)) !== undefined);
}
