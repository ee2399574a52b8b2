import { hostname } from 'node:os';
import { type ApiClient, connect } from './client.ts';
import { type CliCommand, positionalsOf } from './command.ts';
import { CliError, exitCodes } from './exit-codes.ts';
import { printRecord } from './output.ts';
import { volumeAction } from './volume-action.ts';

interface AttachedVolume {
  readonly id: string;
  readonly status: string;
  readonly attachments: readonly { readonly attachment_id: string; readonly server_id: string | null }[];
}

/**
 * `stillpoint volume disconnect`: flushes and ends the connection of a volume, and detaches it. Goes on from wherever an interrupted connect or
 * disconnect left the volume.
 */
export const volumeDisconnect: CliCommand = {
  path: ['volume', 'disconnect'],
  summary: 'close a volume that was opened as an NBD device',
  usage: 'VOLUME',
  description: 'Ends the connection after everything written to it is on the disk. NBD clients that still use it lose it.',
  options: {},
  async run(invocation) {
    const [name = ''] = positionalsOf(invocation, 'VOLUME');
    const api = await connect(invocation);
    const volume = await api.find<AttachedVolume>('block-storage', '/volumes', 'volume', name);
    await disconnect(api, volume);
    const { volume: now } = await api.call<{ volume: AttachedVolume }>('block-storage', 'GET', `/volumes/${volume.id}`);
    if (invocation.format === 'json') printRecord(invocation, { volume_id: now.id, status: now.status });
    return 0;
  },
};

async function disconnect(api: ApiClient, { id, status, attachments }: AttachedVolume): Promise<void> {
  const connector = { host: hostname() };
  const [attachment] = attachments;
  if (attachment !== undefined && attachment.server_id !== null) {
    throw new CliError(exitCodes.refused, `volume ${id} is attached to server ${attachment.server_id}: detach it from the server`);
  }
  if (attachment === undefined) {
    await volumeAction(api, id, { 'os-terminate_connection': { connector } });
    await volumeAction(api, id, { 'os-unreserve': null });
    return;
  }
  if (status !== 'detaching') await volumeAction(api, id, { 'os-begin_detaching': null });
  await volumeAction(api, id, { 'os-terminate_connection': { connector } });
  await volumeAction(api, id, { 'os-detach': { attachment_id: attachment.attachment_id } });
}
