/** `stillpoint status`: does the service answer, and how does it do? */
import { connect } from './client.ts';
import { type CliCommand, positionalsOf } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { formatBytes, formatDuration, printJson, printRecord } from './output.ts';

interface SpaceBody {
  readonly free_bytes: number;
  readonly reserved_bytes: number;
  readonly kept_bytes: number;
  readonly virtual_bytes: number;
  readonly allocated_bytes: number;
  readonly overcommit_ratio: number;
  readonly ballast: { readonly size_bytes: number; readonly present_bytes: number };
}

interface StatusBody {
  readonly version: string;
  readonly uptime_seconds: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly repositories: readonly { readonly id: string; readonly name: string; readonly path?: string }[];
  readonly free_bytes: number;
  readonly space?: SpaceBody;
  readonly trash?: { readonly count: number; readonly bytes: number };
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
      ...spaceLines(body.space),
      ...(body.trash === undefined || body.trash.count === 0 ? {} : { trash: `${body.trash.count} (${formatBytes(body.trash.bytes)})` }),
    });
    return exitCodes.ok;
  },
};

/** For administrators: others are not told what the machine has. */
function spaceLines(space: SpaceBody | undefined): Record<string, string> {
  if (space === undefined) return {};
  const { size_bytes: size, present_bytes: present } = space.ballast;
  return {
    'disk free': `${formatBytes(space.free_bytes)}, ${formatBytes(space.kept_bytes)} kept back, ${formatBytes(space.reserved_bytes)} reserved`,
    'disks take': `${formatBytes(space.allocated_bytes)} of ${formatBytes(space.virtual_bytes)} promised (overcommit ${space.overcommit_ratio})`,
    ...(size === 0 || size === present ? {} : { ballast: `${formatBytes(present)} of ${formatBytes(size)}: the disk is full` }),
  };
}
