import { connect } from './client.ts';
import { type CliCommand, flagOption, positionalsOf } from './command.ts';
import { type Job, watchJob } from './job-watch.ts';
import { printRecord } from './output.ts';

interface Named {
  readonly id: string;
}

/** `stillpoint volume revert`: any snapshot of the volume, where Block Storage's own action knows only the latest. */
export const volumeRevert: CliCommand = {
  path: ['volume', 'revert'],
  summary: 'put a volume back to one of its snapshots',
  usage: 'VOLUME SNAPSHOT [--no-wait]',
  description: [
    'Puts a volume (by id or name) back to what it held at any of its snapshots (by id or name), in milliseconds. What was written since is',
    'given up unless another snapshot holds it; all snapshots stay. The volume must not be connected, and keeps its size.',
    '',
    '  stillpoint volume revert disk-1 before-the-upgrade',
  ].join('\n'),
  options: { 'no-wait': { type: 'boolean', help: 'return as soon as the revert has begun' } },
  async run(invocation) {
    const [volumeName = '', snapshotName = ''] = positionalsOf(invocation, 'VOLUME', 'SNAPSHOT');
    const api = await connect(invocation);
    const volume = await api.find<Named>('block-storage', '/volumes', 'volume', volumeName);
    const snapshot = await api.find<Named>('block-storage', '/snapshots', 'snapshot', snapshotName);
    const body = { snapshot_id: snapshot.id };
    const { job } = await api.call<{ job: Job }>('native', 'POST', `/volumes/${volume.id}/revert`, { body });
    if (!flagOption(invocation, 'no-wait')) await watchJob(invocation, api, job.id, `reverting ${volumeName}`);
    const shown = await api.call<{ volume: Named & { status: string } }>('block-storage', 'GET', `/volumes/${volume.id}`);
    printRecord(invocation, { volume_id: volume.id, snapshot_id: snapshot.id, status: shown.volume.status, job_id: job.id });
    return 0;
  },
};
