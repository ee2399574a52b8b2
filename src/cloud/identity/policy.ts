/**
 * Who may do what with things that projects own: one rule an action. (`directory-policy.ts` is the table for Identity's own things.)
 *
 * `reader`: any role in the project that owns the thing. `member`: the role member (or admin) there. `admin`: the role admin in any
 * project, which is a cloud admin, as Block Storage and Image have it by default. An admin passes every rule.
 */
import { forbidden } from '../../lib/errors.ts';
import type { Caller } from './caller.ts';

type Rule = 'reader' | 'member' | 'admin';

export const rules = {
  'volume:list': 'reader',
  'volume:get': 'reader',
  'volume:create': 'member',
  'volume:update': 'member',
  'volume:delete': 'member',
  'volume:extend': 'member',
  'volume:reset_status': 'admin',
  'volume:force_delete': 'admin',
  'volume:connect': 'member',
  'volume:attach': 'member',
  'volume:revert': 'member',
  'volume:reimage': 'member',
  'volume:retype': 'member',
  'volume:upload_image': 'member',
  'volume:see_host': 'admin',
  'volume:migrate': 'admin',
  'volume:manage': 'admin',
  'attachment:list': 'reader',
  'attachment:get': 'reader',
  'transfer:list': 'reader',
  'transfer:get': 'reader',
  'transfer:create': 'member',
  'transfer:accept': 'member',
  'transfer:delete': 'member',
  'group:list': 'reader',
  'group:get': 'reader',
  'group:create': 'member',
  'group:update': 'member',
  'group:delete': 'member',
  'group:reset_status': 'admin',
  'group_type:list': 'reader',
  'group_type:see_specs': 'admin',
  'group_type:see_all': 'admin',
  'group_type:change': 'admin',
  'volume_type:list': 'reader',
  'volume_type:get': 'reader',
  'volume_type:change': 'admin',
  'volume_type:see_all': 'admin',
  'default_type:change': 'admin',
  'qos:change': 'admin',
  'snapshot:list': 'reader',
  'snapshot:get': 'reader',
  'snapshot:create': 'member',
  'snapshot:update': 'member',
  'snapshot:delete': 'member',
  'snapshot:reset_status': 'admin',
  'snapshot:force_delete': 'admin',
  'backup:list': 'reader',
  'backup:get': 'reader',
  'backup:create': 'member',
  'backup:update': 'member',
  'backup:delete': 'member',
  'backup:restore': 'member',
  'backup:reset_status': 'admin',
  'backup:force_delete': 'admin',
  'backup:export': 'admin',
  'backup:import': 'admin',
  'backup:see_project': 'admin',
  'disk:check': 'admin',
  'disk:restore': 'admin',
  'quota:get': 'reader',
  'quota:update': 'admin',
  'flavor:list': 'reader',
  'flavor:get': 'reader',
  'flavor:see_all': 'admin',
  'flavor:change': 'admin',
  'keypair:list': 'reader',
  'keypair:get': 'reader',
  'keypair:create': 'reader',
  'keypair:delete': 'reader',
  'keypair:of_others': 'admin',
  'server_group:list': 'reader',
  'server_group:get': 'reader',
  'server_group:create': 'member',
  'server_group:delete': 'member',
  'machine_quota:get': 'reader',
  'machine_quota:see_defaults': 'reader',
  'machine_quota:update': 'admin',
  'machine_quota_class:change': 'admin',
  'machine:list': 'reader',
  'machine:list_all': 'admin',
  'machine:get': 'reader',
  'machine:create': 'member',
  'machine:update': 'member',
  'machine:delete': 'member',
  'machine:control': 'member',
  'machine:attach': 'member',
  'machine:snapshot': 'member',
  'machine:override_lock': 'admin',
  'machine:reset_state': 'admin',
  'machine:see_host': 'admin',
  'quota_class:change': 'admin',
  'service:list': 'admin',
  'service:change': 'admin',
  'hypervisor:list': 'admin',
  'aggregate:change': 'admin',
  'pool:list': 'admin',
  'capabilities:get': 'admin',
  'host:list': 'admin',
  'message:list': 'reader',
  'message:get': 'reader',
  'message:delete': 'member',
  'all_projects:list': 'admin',
  'list:filter_freely': 'admin',
  'image:list': 'reader',
  'image:get': 'reader',
  'image:download': 'reader',
  'image:create': 'member',
  'image:update': 'member',
  'image:upload': 'member',
  'image:delete': 'member',
  'image:deactivate': 'member',
  'image:share': 'member',
  'image:answer_share': 'member',
  'image:communitize': 'member',
  'image:publicize': 'admin',
  'image:give_away': 'admin',
  'image:download_deactivated': 'admin',
  'image:see_tasks': 'reader',
  'image:list_tasks': 'admin',
  'metadef:get': 'reader',
  'metadef:change': 'admin',
  'job:get': 'reader',
  'job:get_of_cloud': 'admin',
  'job:cancel': 'member',
  'repository:list': 'admin',
} as const satisfies Record<string, Rule>;

export type Action = keyof typeof rules;

/** What the caller wants to touch: null = nothing that a project owns. */
export interface Target {
  readonly projectId: string | null;
}

/** The caller may see what this project owns at all. When not, its things do not exist for them: answer 404, never 403. */
export function canSee(caller: Caller, target: Target): boolean {
  return caller.isAdmin || target.projectId === null || target.projectId === caller.projectId;
}

export function isAllowed(caller: Caller, action: Action, target: Target): boolean {
  if (caller.isAdmin) return true;
  if (!canSee(caller, target)) return false;
  switch (rules[action]) {
    case 'reader':
      return caller.roles.length > 0;
    case 'member':
      return caller.roles.includes('member');
    case 'admin':
      return false;
  }
}

/** Whose things a list holds: the caller's project's, and for whoever may ask for it those of all projects (undefined). */
export function projectOfList(caller: Caller, allProjects: boolean): string | undefined {
  return allProjects && isAllowed(caller, 'all_projects:list', { projectId: null }) ? undefined : (caller.projectId ?? '');
}

/** Throws the 403 that the rule deserves. Look a thing up with `canSee` first: what the caller cannot see is 404. */
export function authorise(caller: Caller, action: Action, target: Target): void {
  if (!isAllowed(caller, action, target)) throw forbidden(`Policy doesn't allow ${action} to be performed.`);
}
