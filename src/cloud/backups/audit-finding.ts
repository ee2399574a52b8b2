/** What is said when an audit finds that something noted of a disk is not true. */
import type { AuditFinding } from '../../engine/repository/commit.ts';
import type { NewEvent } from '../events/service.ts';

/** Who came upon it. */
export type Auditor = 'a backup' | 'a restore';

/** What operators read of it: which backups are in doubt. */
export function auditText(auditor: Auditor, { wrong, offsetBytes }: AuditFinding): string {
  return wrong === 'changes'
    ? `${auditor} found a change at ${offsetBytes} that the journals missed, and read everything; incrementals made since the last full backup may lack changes`
    : `${auditor} found data at ${offsetBytes} where the disk says that it holds none, and read everything; earlier backups of it may lack data`;
}

export function auditEvent(
  auditor: Auditor,
  of: { readonly projectId: string; readonly backupId: string; readonly volumeId: string },
  finding: AuditFinding,
): NewEvent {
  const payload = { backupId: of.backupId, ...finding, message: auditText(auditor, finding) };
  return { projectId: of.projectId, kind: 'backup.audit_failed', resourceType: 'volume', resourceId: of.volumeId, payload };
}
