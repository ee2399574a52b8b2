/** Finding a server for somebody: what the caller may not see does not exist. And the refusals that every request on a server may get. */
import { conflict, notFound } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import type { Database, Tx } from '../database/service.ts';
import type { Caller } from '../identity/caller.ts';
import { type Action, authorise, canSee, isAllowed } from '../identity/policy.ts';
import type { Server } from './contract.ts';
import { can, type TaskName, tasks } from './states.ts';
import { beginTask, findServer, lockServer } from './store.ts';

const missing = (id: string) => notFound(`Instance ${id} could not be found.`);

export async function visibleServer(database: Pick<Database, 'sql'>, caller: Caller, id: string, action: Action): Promise<Server> {
  const server = isUuid(id) ? await findServer(database.sql, id) : undefined;
  if (server === undefined || !canSee(caller, server)) throw missing(id);
  authorise(caller, action, server);
  return server;
}

/** The same, with the row locked until the transaction ends. */
export async function lockedServer(tx: Tx, caller: Caller, id: string, action: Action): Promise<Server> {
  const server = isUuid(id) ? await lockServer(tx.sql, id) : undefined;
  if (server === undefined || !canSee(caller, server)) throw missing(id);
  authorise(caller, action, server);
  return server;
}

/** A lock keeps out everybody but administrators. */
export function checkUnlocked(caller: Caller, server: Server): void {
  if (server.isLocked && !isAllowed(caller, 'machine:override_lock', { projectId: null }))
    throw conflict(`Instance ${server.id} is locked`);
}

/** `verb`: as the request calls it. */
export function refuseState(server: Server, verb: string): never {
  const { id, vmState, taskState } = server;
  const what = taskState === null ? `vm_state ${vmState}` : `task_state ${taskState}`;
  throw conflict(`Cannot '${verb}' instance ${id} while it is in ${what}`);
}

/** Begins a task of a locked server, or refuses. */
export async function beginOr(tx: Tx, server: Server, name: TaskName, verb: string): Promise<void> {
  if (can.begin(server, name) && (await beginTask(tx.sql, server.id, name))) return;
  const isStateWrong = !(tasks[name].from as readonly string[]).includes(server.vmState);
  refuseState(isStateWrong ? { ...server, taskState: null } : server, verb);
}
