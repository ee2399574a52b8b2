/** `stillpoint status`: does the service answer, and how does it do? */
import { connect } from './client.ts';
import { type CliCommand, positionalsOf } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { formatBytes, formatDuration, printJson, printRecord } from './output.ts';

interface StatusBody {
  readonly version: string;
  readonly uptime_seconds: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly repositories: readonly { readonly id: string; readonly name: string; readonly path?: string }[];
  readonly free_bytes: number;
}

export const status: CliCommand = {
  path: ['status'],
  summary: 'say whether the service answers, and how it does',
  usage: '',
  options: {},
  async run(invocation) {
    positionalsOf(invocation);
    const api = await connect(invocation);
    const body = await api.call<StatusBody>('native', 'GET', '/status');
    const url = api.addressOf('native');
    if (invocation.format === 'json') {
      printJson(invocation, { ready: true, url, ...body });
      return exitCodes.ok;
    }
    printRecord(invocation, {
      service: `ready at ${new URL(url).origin}`,
      version: body.version,
      'up for': formatDuration(body.uptime_seconds),
      ...body.counts,
      repository: body.repositories.map(({ name, path }) => (path === undefined ? name : `${name} (${path})`)).join(', '),
      'free for volumes': formatBytes(Math.max(0, body.free_bytes)),
    });
    return exitCodes.ok;
  },
};
