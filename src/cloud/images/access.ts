/** Who sees which image, and who may do what to it. What a caller cannot see does not exist for them. */
import { forbidden, notFound, type ProductError } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, canSee, isAllowed } from '../identity/policy.ts';
import type { Image } from './image.ts';
import { findMember } from './member-store.ts';
import type { Queries } from './store.ts';

type ImageAction = Extract<Action, `image:${string}`>;

/** What the wire calls the actions, for messages. */
const wireNames: Record<ImageAction, string> = {
  'image:list': 'get_images',
  'image:get': 'get_image',
  'image:download': 'download_image',
  'image:create': 'add_image',
  'image:update': 'modify_image',
  'image:upload': 'upload_image',
  'image:delete': 'delete_image',
  'image:deactivate': 'deactivate',
  'image:share': 'add_member',
  'image:answer_share': 'modify_member',
  'image:communitize': 'communitize_image',
  'image:publicize': 'publicize_image',
  'image:give_away': 'modify_image',
  'image:download_deactivated': 'download_image',
  'image:see_tasks': 'get_image',
  'image:list_tasks': 'tasks_api_access',
};

export async function isVisible(db: Queries, caller: Caller, image: Image): Promise<boolean> {
  if (image.visibility === 'public' || image.visibility === 'community' || canSee(caller, { projectId: image.owner })) return true;
  if (image.visibility !== 'shared' || caller.projectId === null) return false;
  return (await findMember(db, image.id, caller.projectId)) !== undefined;
}

export const imageNotFound = (id: string): ProductError => notFound(`No image found with ID ${id}`);

/** Looks an image up for a caller: 404 when it is not there, or not theirs to see. */
export async function visibleImage(
  db: Queries,
  caller: Caller,
  id: string,
  find: (db: Queries, id: string) => Promise<Image | undefined>,
  missing: (id: string) => ProductError = imageNotFound,
): Promise<Image> {
  const image = isUuid(id) ? await find(db, id) : undefined;
  if (image === undefined || !(await isVisible(db, caller, image))) throw missing(id);
  return image;
}

/** 403 unless the caller may do this to things of that project; null = to whatever they can see. */
export function authorise(caller: Caller, action: ImageAction, projectId: string | null): void {
  if (!isAllowed(caller, action, { projectId })) throw forbidden(`You are not authorized to complete ${wireNames[action]} action.`);
}
