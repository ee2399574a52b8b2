/**
 * With whom an image is shared. The owner names projects; each of them decides whether it wants to see the image in its lists. To reach it by
 * its id, being a member is enough.
 */
import { conflict, forbidden, notFound, tooLarge } from '../../lib/errors.ts';
import { isUniqueViolation, type Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { canSee } from '../identity/policy.ts';
import { authorise, visibleImage } from './access.ts';
import type { ImagesDeps } from './deps.ts';
import type { Image, MemberStatus } from './image.ts';
import { deleteMember, findMember, type ImageMember, insertMember, membersOf, setMemberStatus } from './member-store.ts';
import { findImage, lockImage, type Queries } from './store.ts';

export type { ImageMember } from './member-store.ts';

export interface ImageMembers {
  /** All for the owner; for a member only itself. */
  list(caller: Caller, imageId: string): Promise<ImageMember[]>;
  show(caller: Caller, imageId: string, memberId: string): Promise<ImageMember>;
  add(caller: Caller, imageId: string, memberId: string): Promise<ImageMember>;
  /** Only the member itself decides. */
  setStatus(caller: Caller, imageId: string, memberId: string, status: MemberStatus): Promise<ImageMember>;
  remove(caller: Caller, imageId: string, memberId: string): Promise<void>;
}

const membersMax = 128;

export function createImageMembers({ database, clock }: Pick<ImagesDeps, 'database' | 'clock'>): ImageMembers {
  /** The image, locked, so that its members and its visibility do not change meanwhile. Only its owner may do what follows. */
  async function ownImage(tx: Tx, caller: Caller, imageId: string): Promise<Image> {
    const image = await visibleImage(tx.sql, caller, imageId, lockImage);
    authorise(caller, 'image:share', image.owner);
    mustBeShared(image);
    return image;
  }

  async function seenMember(db: Queries, caller: Caller, imageId: string, memberId: string): Promise<ImageMember> {
    const image = await visibleImage(db, caller, imageId, findImage);
    authorise(caller, 'image:get', null);
    mustBeShared(image);
    const member = maySeeAll(caller, image) || memberId === caller.projectId ? await findMember(db, imageId, memberId) : undefined;
    if (member === undefined) throw noMember(imageId, memberId);
    return member;
  }

  return {
    async list(caller, imageId) {
      const image = await visibleImage(database.sql, caller, imageId, findImage);
      authorise(caller, 'image:get', null);
      mustBeShared(image);
      const members = await membersOf(database.sql, image.id);
      return maySeeAll(caller, image) ? members : members.filter((member) => member.memberId === caller.projectId);
    },

    show: (caller, imageId, memberId) => seenMember(database.sql, caller, imageId, memberId),

    async add(caller, imageId, memberId) {
      const duplicate = () => conflict(`Member ${memberId} is duplicated for image ${imageId}`);
      try {
        return await database.transact(async (tx) => {
          const image = await ownImage(tx, caller, imageId);
          const members = await membersOf(tx.sql, image.id);
          if (members.some((member) => member.memberId === memberId)) throw duplicate();
          if (members.length >= membersMax) throw tooManyMembers(members.length + 1);
          return await insertMember(tx.sql, image.id, memberId, clock.nowText());
        });
      } catch (error) {
        throw isUniqueViolation(error) ? duplicate() : error;
      }
    },

    async setStatus(caller, imageId, memberId, status) {
      return await database.transact(async (tx) => {
        await seenMember(tx.sql, caller, imageId, memberId);
        authorise(caller, 'image:answer_share', memberId);
        const changed = await setMemberStatus(tx.sql, { imageId, memberId, status }, clock.nowText());
        if (changed === undefined) throw noMember(imageId, memberId);
        return changed;
      });
    },

    async remove(caller, imageId, memberId) {
      await database.transact(async (tx) => {
        const image = await ownImage(tx, caller, imageId);
        if (!(await deleteMember(tx.sql, image.id, memberId))) throw noMember(imageId, memberId);
      });
    },
  };
}

const maySeeAll = (caller: Caller, image: Image): boolean => canSee(caller, { projectId: image.owner });

function mustBeShared(image: Image): void {
  if (image.visibility !== 'shared') throw forbidden('Only shared images have members.');
}

const noMember = (imageId: string, memberId: string) => notFound(`${memberId} not found in the member list of the image ${imageId}.`);

const tooManyMembers = (attempted: number) =>
  tooLarge(
    `The limit has been exceeded on the number of allowed image members for this image. Attempted: ${attempted}, Maximum: ${membersMax}`,
  );
