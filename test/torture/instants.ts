/** The marked instants at which histories kill the service, by what has to go on for them to be passed. */
import type { SimpleStep } from './steps.ts';

export type Instant = readonly [point: string, by: SimpleStep['op']];

export const diskInstants: readonly Instant[] = [
  ['freeze:planned', 'snapshot'],
  ['freeze:layer-made', 'snapshot'],
  ['freeze:switched', 'snapshot'],
  ['snapshot:transaction:before', 'snapshot'],
  ['snapshot:transaction:after', 'snapshot'],
  ['write-pause:unlimited', 'snapshot-together'],
  ['write-pause:closed', 'snapshot-together'],
  ['freeze-together:paused', 'snapshot-together'],
  ['freeze:switched', 'snapshot-together'],
  ['freeze-together:switched', 'snapshot-together'],
  ['disk:planned', 'create'],
  ['disk:made', 'create'],
  ['disk:planned', 'revert'],
  ['disk:made', 'revert'],
  ['resize:grown', 'extend'],
  ['drop:doomed', 'delete'],
  ['drop:removed', 'delete'],
  ['base:planned', 'restore'],
  ['base:written', 'restore-in-place'],
  ['base:sealed', 'restore'],
  ['export:planned', 'connect'],
  ['export:launch:after', 'connect'],
  ['export:started', 'connect'],
  ['export:closed', 'disconnect'],
  ['export:quit:after', 'disconnect'],
  ['merge:marked', 'tidy'],
  ['merge:commit:before', 'tidy'],
  ['merge:commit:after', 'tidy'],
  ['merge:rebase:after', 'tidy'],
  ['merge:folded', 'tidy'],
  ['merge:recorded', 'tidy'],
  ['live-merge:prepared', 'tidy'],
  ['live-merge:started', 'tidy'],
  ['live-merge:copied', 'tidy'],
  ['live-merge:finalised', 'tidy'],
  ['live-merge:merged', 'tidy'],
  ['live-merge:durable', 'tidy'],
  ['journal:computed', 'snapshot'],
  ['tidy:doomed', 'tidy'],
  ['tidy:removed', 'tidy'],
];

const sagas: readonly (readonly [op: SimpleStep['op'], kind: string, effects: readonly string[]])[] = [
  ['create', 'volume.create', ['freeze:freeze', 'disk:create', 'finish:rows']],
  ['delete', 'volume.delete', ['disk:drop', 'rows:rows']],
  ['delete', 'snapshot.delete', ['rows:rows']],
  ['cascade', 'volume.delete', ['disk:drop', 'rows:rows']],
  ['extend', 'volume.extend', ['grow:resize']],
  ['revert', 'volume.revert', ['swap:disk', 'finish:rows']],
  ['snapshot', 'snapshot.create', ['freeze:freeze', 'finish:rows']],
  ['backup', 'backup.create', ['freeze:freeze', 'transfer:move', 'publish:rows']],
  ['restore', 'backup.restore', ['write:base', 'swap:disk', 'swap:rows']],
  ['restore-in-place', 'backup.restore', ['write:base', 'swap:disk', 'swap:rows']],
  ['delete', 'backup.delete', ['tombstone:write', 'remove:row']],
  ['image', 'image.prepare', ['base:base', 'publish:rename', 'activate:row']],
];

const effectInstants = sagas.flatMap(([op, kind, effects]) =>
  effects.flatMap((effect): Instant[] => [
    [`${kind}:${effect}:before`, op],
    [`${kind}:${effect}:after`, op],
    [`${kind}:${effect.split(':')[0]}:done`, op],
  ]),
);

/** Tidying happens by itself there, after what makes it necessary. */
const afterwards: Readonly<Partial<Record<SimpleStep['op'], SimpleStep['op']>>> = { tidy: 'delete' };

export const serviceInstants: readonly Instant[] = [
  ...effectInstants,
  ...diskInstants.filter(([, by]) => by !== 'snapshot-together').map(([point, by]): Instant => [point, afterwards[by] ?? by]),
];
