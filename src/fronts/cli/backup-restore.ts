import { connect } from './client.ts';
import { type CliCommand, flagOption, positionalsOf, textOption } from './command.ts';
import { usageError } from './exit-codes.ts';
import { newestJob, watchJob } from './job-watch.ts';
import { printRecord } from './output.ts';

interface Named {
  readonly id: string;
}

interface VolumeBody extends Named {
  readonly name: string | null;
  readonly status: string;
  readonly size: number;
}

/** `stillpoint backup restore`: asks Block Storage to restore a backup and follows it. */
export const backupRestore: CliCommand = {
  path: ['backup', 'restore'],
  summary: 'restore a backup to a volume',
  usage: 'BACKUP [--volume VOLUME | --name NAME] [--no-wait]',
  description: [
    'Restores a backup (by id or name) to a new volume, or to an existing one, whose content is replaced when every byte of the backup has',
    'been written and checked: until then, and when it fails, the volume keeps what it has. Ctrl-C stops watching; the restore goes on.',
    '',
    '  stillpoint backup restore monday --name disk-1-of-monday',
    '  stillpoint backup restore monday --volume disk-1',
  ].join('\n'),
  options: {
    volume: { type: 'string', help: 'existing volume to restore to: its content is replaced', placeholder: 'VOLUME' },
    name: { type: 'string', help: 'name of the new volume', placeholder: 'NAME' },
    'no-wait': { type: 'boolean', help: 'return as soon as the restore has begun' },
  },
  async run(invocation) {
    const [backupName = ''] = positionalsOf(invocation, 'BACKUP');
    const target = textOption(invocation, 'volume');
    const name = textOption(invocation, 'name');
    if (target !== undefined && name !== undefined)
      throw usageError('--volume and --name exclude each other: an existing volume keeps its name');
    const api = await connect(invocation);
    const backup = await api.find<Named>('block-storage', '/backups', 'backup', backupName);
    const volume = target === undefined ? null : await api.find<Named>('block-storage', '/volumes', 'volume', target);
    const { restore } = await api.call<{ restore: { volume_id: string } }>('block-storage', 'POST', `/backups/${backup.id}/restore`, {
      body: { restore: { volume_id: volume?.id ?? null, name: name ?? null } },
    });
    const job = await newestJob(api, backup.id, 'backup.restore');
    if (!flagOption(invocation, 'no-wait')) await watchJob(invocation, api, job.id, `restoring ${backupName}`);
    const shown = await api.call<{ volume: VolumeBody }>('block-storage', 'GET', `/volumes/${restore.volume_id}`);
    const { id, name: volumeName, status, size } = shown.volume;
    printRecord(invocation, { backup_id: backup.id, volume_id: id, volume_name: volumeName, status, size, job_id: job.id });
    return 0;
  },
};
