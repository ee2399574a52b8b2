/**
 * Growing a volume. The row has the new size since the request, so that quotas count it; the disk follows.
 *
 *   grow     the top layer's virtual size; nobody has the disk open, because the volume was available and is extending now
 *   finish   the volume is available again
 *
 * Half-way: growing to a size that the disk has already does nothing. After a failure the row has its old size again, and the volume is
 * error_extending. Disks do not shrink, so where the disk had grown before something failed, the row follows the disk: the extension is done.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/service.ts';
import type { SagaDefinition } from '../jobs/saga.ts';
import { gib } from './sizes.ts';
import { move } from './store.ts';

export const extendKind = 'volume.extend';

export type ExtendInput = { readonly volumeId: string; readonly oldSizeGib: number; readonly newSizeGib: number };

export interface ExtendJobDeps {
  readonly database: Database;
  readonly disks: Pick<DisksService, 'resize' | 'sizeOf'>;
}

export function extendVolumeSaga({ database, disks }: ExtendJobDeps): SagaDefinition<ExtendInput> {
  return {
    kind: extendKind,
    steps: [
      {
        name: 'grow',
        async run(context) {
          await context.effect('resize', () => disks.resize(context.input.volumeId, context.input.newSizeGib * gib));
          return undefined;
        },
        undo: { notNeeded: 'Disks do not shrink. Settling looks at what the disk is, and the row follows.' },
      },
      {
        name: 'finish',
        async run(context) {
          await move(database.sql, context.input.volumeId, 'extended');
          return undefined;
        },
        undo: { notNeeded: 'It is one statement, and the last step.' },
      },
    ],
    async settle(context) {
      const { volumeId, oldSizeGib, newSizeGib } = context.input;
      if ((await disks.sizeOf(volumeId)) === newSizeGib * gib) await move(database.sql, volumeId, 'extended');
      else await move(database.sql, volumeId, 'extendFailed', { sizeGib: oldSizeGib });
    },
  };
}
