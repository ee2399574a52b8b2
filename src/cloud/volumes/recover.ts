/**
 * Attaching is a walk of several requests that a client makes, and a service that dies in the middle leaves the volume half-way: nobody
 * but the client knows whether it will go on. So at start such volumes step back to where they stood. A client that goes on
 * after all still can: connecting and attaching are allowed from `available`, detaching from `in-use`.
 *
 * A server that was started for such a walk ends with it, for an available volume is one that nobody has open.
 */
import type { Database } from '../database/service.ts';
import type { DisksService } from '../disks/contract.ts';
import { findHalfAttached, move } from './store.ts';

export async function recoverAttaching(deps: { database: Database; disks: Pick<DisksService, 'closeExport'> }): Promise<void> {
  const { database, disks } = deps;
  for (const { id, isAttached } of await findHalfAttached(database.sql)) {
    // First the server, as in a detach: what it had not written yet belongs into the disk before the volume is available.
    if (!isAttached) await disks.closeExport(id);
    await move(database.sql, id, isAttached ? 'attachInterrupted' : 'reservationLost', { previousStatus: null });
  }
}
