/** Volume types. There is one, made by the first migration, until types can be administered. */
import { notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { StringMap } from '../database/service.ts';
import type { Queries } from './store.ts';

export const defaultTypeName = '__DEFAULT__';

export interface VolumeType {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly isPublic: boolean;
  readonly extraSpecs: StringMap;
}

const selectTypes = (db: Queries) =>
  db.selectFrom('volume_types').select(['id', 'name', 'description', 'is_public as isPublic', 'extra_specs as extraSpecs']);

export async function listTypes(db: Queries): Promise<VolumeType[]> {
  return await selectTypes(db).orderBy('created_at', 'desc').orderBy('id', 'desc').execute();
}

/** Null = the default type. An id is tried before a name. */
export async function findType(db: Queries, idOrName: string | null): Promise<VolumeType> {
  const name = idOrName ?? defaultTypeName;
  const byId = isUuid(name) ? await selectTypes(db).where('id', '=', name).executeTakeFirst() : undefined;
  const type = byId ?? (await selectTypes(db).where('name', '=', name).executeTakeFirst());
  if (type === undefined) throw notFound(`Volume type ${isUuid(name) ? '' : 'with name '}${name} could not be found.`);
  return type;
}

export async function findTypeById(db: Queries, id: string): Promise<VolumeType> {
  const type = isUuid(id) ? await selectTypes(db).where('id', '=', id).executeTakeFirst() : undefined;
  if (type === undefined) throw notFound(`Volume type ${id} could not be found.`);
  return type;
}
