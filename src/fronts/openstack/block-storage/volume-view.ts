/** How a volume looks on the wire: one table of its fields, where they are shown, from which microversion on, and for whom. */
import { poolHost } from '../../../cloud/hosts/contract.ts';
import { isAllowed } from '../../../cloud/identity/policy.ts';
import type { Volume, VolumeAttachment } from '../../../cloud/volumes/service.ts';
import type { Viewer } from './viewer.ts';

interface Field {
  readonly name: string;
  readonly value: (volume: Volume, viewer: Viewer) => unknown;
  /** Minor version of 3. */
  readonly since?: number;
  readonly adminOnly?: true;
  /** Not in the replies to create and update. */
  readonly shownOnly?: true;
  /** Left out when it holds nothing. */
  readonly unlessEmpty?: true;
}

const fields: readonly Field[] = [
  { name: 'id', value: (volume) => volume.id },
  { name: 'name', value: (volume) => volume.name },
  { name: 'description', value: (volume) => volume.description },
  { name: 'status', value: (volume) => volume.status },
  { name: 'size', value: (volume) => volume.sizeGib },
  { name: 'availability_zone', value: (volume) => volume.availabilityZone },
  { name: 'created_at', value: (volume) => volume.createdAt },
  { name: 'updated_at', value: (volume) => volume.updatedAt },
  { name: 'attachments', value: (volume, viewer) => attachedTo(volume).map((attachment) => attachmentView(attachment, viewer)) },
  { name: 'volume_type', value: (volume) => volume.volumeType.name },
  { name: 'snapshot_id', value: (volume) => volume.snapshotId },
  { name: 'source_volid', value: (volume) => volume.sourceVolumeId },
  { name: 'user_id', value: (volume) => volume.userId },
  { name: 'bootable', value: (volume) => String(volume.bootable) },
  { name: 'encrypted', value: () => false },
  { name: 'replication_status', value: () => null },
  { name: 'consistencygroup_id', value: () => null },
  { name: 'multiattach', value: () => false },
  { name: 'migration_status', value: () => null, adminOnly: true },
  { name: 'os-vol-tenant-attr:tenant_id', value: (volume) => volume.projectId, shownOnly: true },
  { name: 'os-vol-host-attr:host', value: () => poolHost, adminOnly: true, shownOnly: true },
  { name: 'os-vol-mig-status-attr:migstat', value: () => null, adminOnly: true, shownOnly: true },
  { name: 'os-vol-mig-status-attr:name_id', value: () => null, adminOnly: true, shownOnly: true },
  { name: 'volume_image_metadata', value: (volume) => volume.imageMetadata, shownOnly: true, unlessEmpty: true },
  { name: 'group_id', value: (volume) => volume.groupId, since: 13 },
  { name: 'provider_id', value: () => null, since: 21, adminOnly: true },
  { name: 'service_uuid', value: () => null, since: 48 },
  { name: 'shared_targets', value: (_, { microversion }) => !microversion.atLeast(3, 69), since: 48 },
  { name: 'cluster_name', value: () => null, since: 61, adminOnly: true },
  { name: 'volume_type_id', value: (volume) => volume.volumeType.id, since: 63 },
  { name: 'consumes_quota', value: () => true, since: 65 },
];

/** `created` = in the replies to create and update, which show less; `shown` = in details. */
export function volumeDetail(volume: Volume, viewer: Viewer, where: 'created' | 'shown'): Record<string, unknown> {
  const view: Record<string, unknown> = {};
  const seesHost = isAllowed(viewer.caller, 'volume:see_host', volume);
  for (const field of fields) {
    if (field.since !== undefined && !viewer.microversion.atLeast(3, field.since)) continue;
    if ((field.adminOnly && !seesHost) || (field.shownOnly && where === 'created')) continue;
    const value = field.value(volume, viewer);
    if (field.unlessEmpty && Object.keys(value as object).length === 0) continue;
    view[field.name] = value;
  }
  return { ...view, metadata: metadataView(volume, where), links: viewer.linksTo('volumes', volume.id) };
}

/** Two facts that Block Storage keeps as hidden metadata come up among the user's own. */
function metadataView(volume: Volume, where: 'created' | 'shown'): Record<string, string> {
  if (where === 'created') return volume.metadata;
  const [attachment] = attachedTo(volume);
  return {
    ...volume.metadata,
    ...(volume.readonly === null ? {} : { readonly: volume.readonly ? 'True' : 'False' }),
    ...(attachment === undefined ? {} : { attached_mode: attachment.mode }),
  };
}

/** Those that are only reserved, or on their way, show in their own resource. */
const attachedTo = ({ attachments }: Volume): readonly VolumeAttachment[] => attachments.filter(({ status }) => status === 'attached');

function attachmentView(attachment: VolumeAttachment, { caller }: Viewer): Record<string, unknown> {
  return {
    id: attachment.volumeId,
    attachment_id: attachment.id,
    volume_id: attachment.volumeId,
    server_id: attachment.instanceId,
    host_name: isAllowed(caller, 'volume:see_host', { projectId: null }) ? attachment.hostName : null,
    device: attachment.mountpoint,
    attached_at: attachment.attachedAt,
  };
}

export function volumeSummary({ id, name }: Volume, viewer: Viewer): Record<string, unknown> {
  return { id, name, links: viewer.linksTo('volumes', id) };
}
