import { hostname } from 'node:os';
import { type ApiClient, connect } from './client.ts';
import { type CliCommand, type CliInvocation, flagOption, positionalsOf } from './command.ts';
import { printRecord } from './output.ts';
import { volumeAction } from './volume-action.ts';

interface ConnectionAnswer {
  readonly connection_info: {
    readonly driver_volume_type: string;
    readonly data: { readonly uri: string; readonly socket_path: string; readonly export_name: string; readonly access_mode: string };
  };
}

/** Long enough to give back what was begun, also after Ctrl-C. */
const cleanupTimeoutMs = 10_000;

/**
 * `stillpoint volume connect`: makes a volume a block device of this machine, in the steps that every client of Block Storage takes:
 * reserve, open the connection, attach. What fails half-way is given back, so that the volume is available again.
 */
export const volumeConnect: CliCommand = {
  path: ['volume', 'connect'],
  summary: 'open a volume as an NBD device',
  usage: 'VOLUME [--read-only]',
  description: [
    'Prints the address at which NBD clients on this machine find the disk. The volume is in-use until it is disconnected.',
    '',
    '  nbdcopy disk.raw "$(stillpoint volume connect disk-1)"',
    '  qemu-img info "$(stillpoint volume connect disk-1 --read-only)"',
  ].join('\n'),
  options: { 'read-only': { type: 'boolean', help: 'refuse writes' } },
  async run(invocation) {
    const [name = ''] = positionalsOf(invocation, 'VOLUME');
    const mode = flagOption(invocation, 'read-only') ? 'ro' : 'rw';
    const api = await connect(invocation);
    const { id } = await api.find<{ readonly id: string }>('block-storage', '/volumes', 'volume', name);
    await volumeAction(api, id, { 'os-reserve': null });
    const { data } = await openConnection(invocation, api, id, mode);
    if (invocation.format === 'json') printRecord(invocation, { volume_id: id, ...data });
    else invocation.out(data.uri);
    return 0;
  },
};

async function openConnection(
  invocation: CliInvocation,
  api: ApiClient,
  id: string,
  mode: 'rw' | 'ro',
): Promise<ConnectionAnswer['connection_info']> {
  const connector = { host: hostname(), mode };
  try {
    const { connection_info: info } = await volumeAction<ConnectionAnswer>(api, id, { 'os-initialize_connection': { connector } });
    await volumeAction(api, id, { 'os-attach': { host_name: connector.host, mountpoint: 'nbd', mode } });
    return info;
  } catch (error) {
    await giveBack(invocation, id, connector).catch(() => {
      invocation.err(`the volume is still reserved: run 'stillpoint volume disconnect ${id}'`);
    });
    throw error;
  }
}

async function giveBack(invocation: CliInvocation, id: string, connector: object): Promise<void> {
  const api = await connect({ ...invocation, signal: AbortSignal.timeout(cleanupTimeoutMs) });
  await volumeAction(api, id, { 'os-terminate_connection': { connector } });
  await volumeAction(api, id, { 'os-unreserve': null });
}
