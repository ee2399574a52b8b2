/** The SQL of how disks of a type are to be encrypted. */
import { sql } from 'kysely';
import type { Encryption, EncryptionOrder } from './contract.ts';
import type { Queries } from './store.ts';

export async function findEncryption(db: Queries, typeId: string): Promise<Encryption | undefined> {
  return await db
    .selectFrom('volume_type_encryption')
    .select([
      'volume_type_id as volumeTypeId',
      'encryption_id as encryptionId',
      'provider',
      'control_location as controlLocation',
      'cipher',
      'key_size as keySize',
      'created_at as createdAt',
      'updated_at as updatedAt',
    ])
    .where('volume_type_id', '=', typeId)
    .executeTakeFirst();
}

export async function insertEncryption(db: Queries, typeId: string, encryptionId: string, order: EncryptionOrder): Promise<void> {
  const { provider, controlLocation, cipher, keySize } = order;
  await db
    .insertInto('volume_type_encryption')
    .values({
      volume_type_id: typeId,
      encryption_id: encryptionId,
      provider,
      control_location: controlLocation,
      cipher,
      key_size: keySize,
    })
    .execute();
}

export async function updateEncryption(db: Queries, typeId: string, changes: Partial<EncryptionOrder>): Promise<void> {
  await db
    .updateTable('volume_type_encryption')
    .set({
      ...(changes.provider !== undefined && { provider: changes.provider }),
      ...(changes.controlLocation !== undefined && { control_location: changes.controlLocation }),
      ...(changes.cipher !== undefined && { cipher: changes.cipher }),
      ...(changes.keySize !== undefined && { key_size: changes.keySize }),
      updated_at: sql<string>`clock_timestamp()`,
    })
    .where('volume_type_id', '=', typeId)
    .execute();
}

export async function deleteEncryption(db: Queries, typeId: string): Promise<void> {
  await db.deleteFrom('volume_type_encryption').where('volume_type_id', '=', typeId).execute();
}
