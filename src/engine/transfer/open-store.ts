import type { ObjectStore } from '../stores/contract.ts';
import { openFilesystemStore, prepareFilesystemStore } from '../stores/filesystem/filesystem-store.ts';
import type { RepositoryAddress } from './contract.ts';

type StoreAddress = RepositoryAddress['store'];

/** The store behind an address. Each thread opens one for itself. */
export function openStore(address: StoreAddress): ObjectStore {
  return openFilesystemStore(address.path);
}

/** Makes what a new store needs, refuses places that cannot hold one, and removes the leftovers of dead writers. */
export function prepareStore(address: StoreAddress, nowMs: number): void {
  prepareFilesystemStore(address.path, nowMs);
}
