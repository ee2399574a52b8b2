/** The only SQL on `image_members`, but for the conditions of lists (`list.ts`). */
import type { Selectable } from 'kysely';
import type { Schema, Timestamp } from '../database/service.ts';
import type { MemberStatus } from './image.ts';
import type { Queries } from './store.ts';

export interface ImageMember {
  readonly imageId: string;
  /** A project. */
  readonly memberId: string;
  readonly status: MemberStatus;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

function memberOf(row: Selectable<Schema['image_members']>): ImageMember {
  return { imageId: row.image_id, memberId: row.member_id, status: row.status, createdAt: row.created_at, updatedAt: row.updated_at };
}

export async function findMember(db: Queries, imageId: string, memberId: string): Promise<ImageMember | undefined> {
  const row = await db
    .selectFrom('image_members')
    .selectAll()
    .where('image_id', '=', imageId)
    .where('member_id', '=', memberId)
    .executeTakeFirst();
  return row === undefined ? undefined : memberOf(row);
}

/** In the order in which they were added. */
export async function membersOf(db: Queries, imageId: string): Promise<ImageMember[]> {
  const rows = await db
    .selectFrom('image_members')
    .selectAll()
    .where('image_id', '=', imageId)
    .orderBy('created_at')
    .orderBy('member_id')
    .execute();
  return rows.map(memberOf);
}

export async function insertMember(db: Queries, imageId: string, memberId: string, at: Timestamp): Promise<ImageMember> {
  const row = await db
    .insertInto('image_members')
    .values({ image_id: imageId, member_id: memberId, status: 'pending', created_at: at, updated_at: at })
    .returningAll()
    .executeTakeFirstOrThrow();
  return memberOf(row);
}

/** Undefined: there is no such member. */
export async function setMemberStatus(
  db: Queries,
  member: { readonly imageId: string; readonly memberId: string; readonly status: MemberStatus },
  at: Timestamp,
): Promise<ImageMember | undefined> {
  const row = await db
    .updateTable('image_members')
    .set({ status: member.status, updated_at: at })
    .where('image_id', '=', member.imageId)
    .where('member_id', '=', member.memberId)
    .returningAll()
    .executeTakeFirst();
  return row === undefined ? undefined : memberOf(row);
}

/** False: there was none. */
export async function deleteMember(db: Queries, imageId: string, memberId: string): Promise<boolean> {
  const result = await db.deleteFrom('image_members').where('image_id', '=', imageId).where('member_id', '=', memberId).executeTakeFirst();
  return result.numDeletedRows > 0n;
}
