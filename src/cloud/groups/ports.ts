/** What volumes ask of groups: whether a new volume may become a member. */
import { badRequest, notFound } from '../../lib/errors.ts';
import type { GroupSources } from '../volumes/service.ts';
import { lockedGroup } from './access.ts';

export function createGroupPorts(): GroupSources {
  return {
    async checkMember(tx, caller, groupId, volumeTypeId) {
      const group = await lockedGroup(tx, caller, groupId, 'group:get', 'share');
      // An administrator sees it; but the members of its project would own the volume with it.
      if (group.projectId !== caller.projectId) throw notFound(`Group ${groupId} could not be found.`);
      if (group.status !== 'available')
        throw badRequest(`Invalid group: Group status must be available, but current status is: ${group.status}.`);
      if (!group.volumeTypeIds.includes(volumeTypeId)) {
        throw badRequest(
          `Invalid input received: Invalid volume_type ${volumeTypeId} in request. It is not one of the types of group ${groupId}.`,
        );
      }
    },
  };
}
