import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { isRepositoryError, type RepositoryError, type RepositoryErrorKind } from '../../engine/repository/errors.ts';
import { StoreError } from '../../engine/stores/contract.ts';
import { type OfflineRepository, openOfflineRepository, type StoredBackup } from '../../engine/transfer/offline-repository.ts';
import { type CliInvocation, type CliOptions, requiredOption } from './command.ts';
import { CliError, type ExitCode, exitCodes } from './exit-codes.ts';

/** What every command needs that reads a repository without a server. */
export const repositoryOptions: CliOptions = {
  repo: { type: 'string', help: 'the folder of the repository', placeholder: 'DIR' },
  key: { type: 'string', help: 'the file with the master key of the repository', placeholder: 'FILE' },
};

const exitCodeOf: Readonly<Partial<Record<RepositoryErrorKind, ExitCode>>> = {
  corrupted: exitCodes.corrupted,
  missing: exitCodes.corrupted,
  'not-found': exitCodes.notFound,
  'locked-out': exitCodes.refused,
  aborted: exitCodes.interrupted,
};

/** Opens the repository of `--repo` and `--key` for `use`, and puts its errors into exit codes. */
export async function withRepository<T>(invocation: CliInvocation, use: (repository: OfflineRepository) => Promise<T>): Promise<T> {
  const path = resolve(requiredOption(invocation, 'repo'));
  const keyFile = resolve(requiredOption(invocation, 'key'));
  let repository: OfflineRepository | undefined;
  try {
    repository = await openOfflineRepository({ store: { kind: 'filesystem', path }, keyFile, workerCount: availableParallelism() });
    return await use(repository);
  } catch (error) {
    throw cliErrorOf(error);
  } finally {
    await repository?.close();
  }
}

/** All live backups; damaged commits are told to the user and do not hide the others. */
export async function readBackups(invocation: CliInvocation, repository: OfflineRepository): Promise<StoredBackup[]> {
  const backups: StoredBackup[] = [];
  for await (const backup of repository.list((message) => invocation.err(`warning: ${message}`))) backups.push(backup);
  return backups;
}

function cliErrorOf(error: unknown): unknown {
  if (isRepositoryError(error))
    return new CliError(exitCodeOf[error.kind] ?? exitCodes.failure, messageWithRanges(error), { cause: error });
  return error instanceof StoreError ? new CliError(exitCodes.failure, error.message, { cause: error }) : error;
}

const RANGES_SHOWN_MAX = 20;

function messageWithRanges(error: RepositoryError): string {
  const lines = error.ranges.map(
    ({ offsetBytes, lengthBytes }) => `  ${offsetBytes} to ${offsetBytes + lengthBytes - 1} (${lengthBytes} bytes)`,
  );
  const rest = lines.length > RANGES_SHOWN_MAX ? [`  and ${lines.length - RANGES_SHOWN_MAX} more`] : [];
  const list = lines.length === 0 ? [] : ['Damaged ranges of the disk:', ...lines.slice(0, RANGES_SHOWN_MAX), ...rest];
  return [error.message, ...list].join('\n');
}
