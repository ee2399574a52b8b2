import { backupCreate } from '../fronts/cli/backup-create.ts';
import { backupRestore } from '../fronts/cli/backup-restore.ts';
import type { CliCommand, CliInvocation } from '../fronts/cli/command.ts';
import { createDoctor } from '../fronts/cli/doctor.ts';
import { repositoryList } from '../fronts/cli/repository-list.ts';
import { repositoryRestore } from '../fronts/cli/repository-restore.ts';
import { status } from '../fronts/cli/status.ts';
import { volumeConnect } from '../fronts/cli/volume-connect.ts';
import { volumeDisconnect } from '../fronts/cli/volume-disconnect.ts';
import { volumeRevert } from '../fronts/cli/volume-revert.ts';
import { serve } from './serve.ts';

const examineLazily = async (invocation: CliInvocation) => (await import('./examine.ts')).examine(invocation);

/** Every command of `stillpoint`. */
export const commands: readonly CliCommand[] = [
  serve,
  status,
  createDoctor(examineLazily),
  volumeConnect,
  volumeDisconnect,
  volumeRevert,
  backupCreate,
  backupRestore,
  repositoryList,
  repositoryRestore,
];
