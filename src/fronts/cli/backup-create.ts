import { connect } from './client.ts';
import { type CliCommand, flagOption, positionalsOf, textOption } from './command.ts';
import { newestJob, watchJob } from './job-watch.ts';
import { formatBytes, printRecord } from './output.ts';

interface Named {
  readonly id: string;
}

interface BackupBody extends Named {
  readonly name: string | null;
  readonly status: string;
  readonly size: number;
  readonly is_incremental: boolean;
  readonly volume_id: string;
  readonly snapshot_id: string | null;
}

/** `stillpoint backup create`: asks Block Storage for a backup and follows it. */
export const backupCreate: CliCommand = {
  path: ['backup', 'create'],
  summary: 'back up a volume',
  usage: 'VOLUME [--name NAME] [--incremental] [--force] [--snapshot SNAPSHOT] [--no-wait]',
  description: [
    'Makes a backup of a volume (by id or name) and shows how it comes along. Ctrl-C stops watching; the backup goes on.',
    '',
    '  stillpoint backup create disk-1 --name monday',
    '  stillpoint backup create disk-1 --incremental --force',
  ].join('\n'),
  options: {
    name: { type: 'string', help: 'name of the backup', placeholder: 'NAME' },
    description: { type: 'string', help: 'description of the backup', placeholder: 'TEXT' },
    incremental: { type: 'boolean', help: 'read only what changed since the last backup' },
    force: { type: 'boolean', help: 'also when the volume is in use' },
    snapshot: { type: 'string', help: 'back up this snapshot of the volume', placeholder: 'SNAPSHOT' },
    'no-wait': { type: 'boolean', help: 'return as soon as the backup has begun' },
  },
  async run(invocation) {
    const [volumeName = ''] = positionalsOf(invocation, 'VOLUME');
    const api = await connect(invocation);
    const volume = await api.find<Named>('block-storage', '/volumes', 'volume', volumeName);
    const snapshotName = textOption(invocation, 'snapshot');
    const snapshot = snapshotName === undefined ? null : await api.find<Named>('block-storage', '/snapshots', 'snapshot', snapshotName);
    const { backup } = await api.call<{ backup: Named }>('block-storage', 'POST', '/backups', {
      body: {
        backup: {
          volume_id: volume.id,
          snapshot_id: snapshot?.id ?? null,
          name: textOption(invocation, 'name') ?? null,
          description: textOption(invocation, 'description') ?? null,
          incremental: flagOption(invocation, 'incremental'),
          force: flagOption(invocation, 'force'),
        },
      },
    });
    const job = await newestJob(api, backup.id, 'backup.create');
    if (!flagOption(invocation, 'no-wait')) await watchJob(invocation, api, job.id, `backing up ${volumeName}`);
    const shown = await api.call<{ backup: BackupBody }>('block-storage', 'GET', `/backups/${backup.id}`);
    const { job: ended } = await api.call<{ job: { progress: { total_bytes: number } | null } }>('native', 'GET', `/jobs/${job.id}`);
    const { id, name, status, size, is_incremental, volume_id, snapshot_id } = shown.backup;
    const readBytes = ended.progress?.total_bytes ?? 0;
    const read = invocation.format === 'json' ? { read_bytes: readBytes } : { read: formatBytes(readBytes) };
    printRecord(invocation, { id, name, status, size, is_incremental, volume_id, snapshot_id, job_id: job.id, ...read });
    return 0;
  },
};
