/** How a snapshot looks on the wire: one table of its fields, where they are shown, and from which microversion on. */
import type { Snapshot } from '../../../cloud/snapshots/service.ts';
import type { Microversion } from '../shared/microversion.ts';

/** `created` = in the replies to create and update; `summary` and `shown` = in the two lists, and in details. */
export type Where = 'created' | 'summary' | 'shown';

interface Field {
  readonly name: string;
  readonly value: (snapshot: Snapshot) => unknown;
  /** Minor version of 3. */
  readonly since?: number;
  /** Everywhere when left out. */
  readonly where?: readonly Where[];
}

const notInSummary: readonly Where[] = ['created', 'shown'];

const fields: readonly Field[] = [
  { name: 'id', value: (snapshot) => snapshot.id },
  { name: 'name', value: (snapshot) => snapshot.name },
  { name: 'description', value: (snapshot) => snapshot.description },
  { name: 'volume_id', value: (snapshot) => snapshot.volumeId },
  { name: 'status', value: (snapshot) => snapshot.status },
  { name: 'size', value: (snapshot) => snapshot.sizeGib },
  { name: 'metadata', value: (snapshot) => snapshot.metadata },
  { name: 'created_at', value: (snapshot) => snapshot.createdAt },
  { name: 'updated_at', value: (snapshot) => snapshot.updatedAt },
  { name: 'os-extended-snapshot-attributes:progress', value: (snapshot) => snapshot.progress, where: ['shown'] },
  { name: 'os-extended-snapshot-attributes:project_id', value: (snapshot) => snapshot.projectId, where: ['shown'] },
  { name: 'group_snapshot_id', value: (snapshot) => snapshot.groupSnapshotId, since: 14, where: notInSummary },
  { name: 'user_id', value: (snapshot) => snapshot.userId, since: 41, where: notInSummary },
  { name: 'consumes_quota', value: () => true, since: 65, where: notInSummary },
];

export function snapshotView(snapshot: Snapshot, microversion: Microversion, where: Where): Record<string, unknown> {
  const here = fields.filter(
    (field) => (field.since === undefined || microversion.atLeast(3, field.since)) && (field.where?.includes(where) ?? true),
  );
  return Object.fromEntries(here.map(({ name, value }) => [name, value(snapshot)]));
}
