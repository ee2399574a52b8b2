import type { CliCommand } from './command.ts';
import { positionalsOf } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { printTable } from './output.ts';
import { readBackups, repositoryOptions, withRepository } from './repository-access.ts';

export const repositoryList: CliCommand = {
  path: ['repository', 'list'],
  summary: 'list the backups in a repository, without a server',
  usage: '--repo DIR --key FILE',
  description: 'Reads the repository itself: neither a server nor a database is needed. Nothing is written to it.',
  options: repositoryOptions,
  async run(invocation) {
    positionalsOf(invocation);
    const backups = await withRepository(invocation, (repository) => readBackups(invocation, repository));
    printTable(
      invocation,
      ['backup', 'name', 'volume', 'volume_name', 'project', 'created_at', 'size_bytes'],
      backups.map(({ description, committedAt, sizeBytes }) => ({
        backup: description.backupId,
        name: description.name,
        volume: description.volume.id,
        volume_name: description.volume.name,
        project: description.projectId,
        created_at: description.createdAt ?? committedAt,
        size_bytes: sizeBytes,
      })),
    );
    return exitCodes.ok;
  },
};
