/** The figures of `/api/v1/status`, gathered from the services. */
import type { BackupsService } from '../cloud/backups/service.ts';
import type { Database } from '../cloud/database/service.ts';
import type { StatusSource } from '../fronts/native/status.ts';

export interface StatusSourceDeps {
  readonly database: Database;
  readonly backups: Pick<BackupsService, 'repositories'>;
  readonly freeBytes: () => Promise<number>;
  readonly space: StatusSource['space'];
  readonly trash: StatusSource['trash'];
  readonly version: string;
}

export function createStatusSource({ database, backups, freeBytes, space, trash, version }: StatusSourceDeps): StatusSource {
  const countOf = async (table: 'volumes' | 'snapshots' | 'images' | 'backups', column: 'project_id' | 'owner', projectId: string) => {
    const row = await database.sql
      .selectFrom(table)
      .where(column as never, '=', projectId as never)
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow();
    return Number(row.count);
  };
  return {
    version,
    uptimeSeconds: () => process.uptime(),
    repositories: () => backups.repositories(),
    freeBytes,
    space,
    trash,
    async countsFor({ projectId }) {
      const project = projectId ?? '';
      const [volumes, snapshots, images, backupCount] = await Promise.all([
        countOf('volumes', 'project_id', project),
        countOf('snapshots', 'project_id', project),
        countOf('images', 'owner', project),
        countOf('backups', 'project_id', project),
      ]);
      return { volumes, snapshots, images, backups: backupCount };
    },
  };
}
