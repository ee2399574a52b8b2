/**
 * Restores a backup straight from its repository, for the day on which server and database are gone. The result is checked against the
 * backup's root before it is called good; a failed or interrupted restore leaves no file.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { StoredBackup } from '../../engine/transfer/offline-repository.ts';
import type { CliCommand } from './command.ts';
import { type CliInvocation, positionalsOf, requiredOption } from './command.ts';
import { CliError, exitCodes, notFoundError } from './exit-codes.ts';
import { createProgressLine, printRecord } from './output.ts';
import { readBackups, repositoryOptions, withRepository } from './repository-access.ts';

export const repositoryRestore: CliCommand = {
  path: ['repository', 'restore'],
  summary: 'restore a disk from a repository, without a server',
  usage: '--repo DIR --key FILE --backup ID --output FILE',
  description: [
    'Reads the repository itself: neither a server nor a database is needed. Nothing is written to it.',
    'The output is a sparse raw disk; an existing file is never overwritten. When stored data is damaged the',
    'exit code is 6, the damaged ranges of the disk are listed, and no file is left.',
  ].join('\n'),
  options: {
    ...repositoryOptions,
    backup: { type: 'string', help: 'the id of the backup, as `repository list` shows it', placeholder: 'ID' },
    output: { type: 'string', help: 'the raw disk file to make', placeholder: 'FILE' },
  },
  async run(invocation) {
    positionalsOf(invocation);
    const backupId = requiredOption(invocation, 'backup');
    const output = resolve(requiredOption(invocation, 'output'));
    if (existsSync(output)) throw new CliError(exitCodes.refused, `${output} exists already, it is not overwritten`);
    await withRepository(invocation, async (repository) => {
      const backup = findBackup(await readBackups(invocation, repository), backupId);
      const line = createProgressLine(invocation.stderr, 'restore');
      const onProgress = (doneBytes: number, totalBytes: number): void => line.update({ doneBytes, totalBytes });
      const outcome = await repository.restore(backup, output, { signal: invocation.signal, onProgress }).finally(() => line.finish());
      printOutcome(invocation, backup, output, outcome);
    });
    return exitCodes.ok;
  },
};

/** One backup can have been committed twice when its database was restored to an older state: then the newest counts. */
function findBackup(backups: readonly StoredBackup[], backupId: string): StoredBackup {
  const found = backups.findLast(({ description, session }) => description.backupId === backupId || session === backupId);
  if (found === undefined) throw notFoundError(`there is no backup ${backupId} in this repository`);
  return found;
}

function printOutcome(
  invocation: CliInvocation,
  { description, sizeBytes }: StoredBackup,
  output: string,
  { root, writtenBytes }: { readonly root: string; readonly writtenBytes: number },
): void {
  printRecord(invocation, {
    backup: description.backupId,
    volume: description.volume.id,
    output,
    size_bytes: sizeBytes,
    written_bytes: writtenBytes,
    verified_root: root,
  });
}
