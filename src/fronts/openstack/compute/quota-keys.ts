/** Which quotas each microversion knows. */
import type { ComputeLimitKey } from '../../../cloud/quotas/compute-keys.ts';
import { isSince } from './microversions.ts';

type Asked = Parameters<typeof isSince>[0];

const always: readonly ComputeLimitKey[] = ['instances', 'cores', 'ram', 'metadata_items', 'key_pairs'];
const ofGroups: readonly ComputeLimitKey[] = ['server_groups', 'server_group_members'];
const untilFiles: readonly ComputeLimitKey[] = ['injected_files', 'injected_file_content_bytes', 'injected_file_path_bytes'];
const untilNetworks: readonly ComputeLimitKey[] = ['fixed_ips', 'floating_ips', 'security_groups', 'security_group_rules'];

const files = (asked: Asked): readonly ComputeLimitKey[] => (isSince(asked, 57) ? [] : untilFiles);

export const quotaSetKeys = (asked: Asked): readonly ComputeLimitKey[] => [
  ...always,
  ...ofGroups,
  ...files(asked),
  ...(isSince(asked, 36) ? [] : untilNetworks),
];

/** Classes learned of groups, and forgot networks, later. */
export const quotaClassKeys = (asked: Asked): readonly ComputeLimitKey[] => [
  ...always,
  ...files(asked),
  ...(isSince(asked, 50) ? ofGroups : untilNetworks),
];
