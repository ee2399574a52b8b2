/** What crosses between the service and the data mover's process. */
import type { PlainError } from '../repository/errors.ts';
import type { BackupOrder, RepositoryAddress, RestoreOntoOrder, RestoreOrder } from './contract.ts';

export type MoverRequest =
  | { readonly call: number; readonly method: 'initRepository'; readonly argument: RepositoryAddress }
  | { readonly call: number; readonly method: 'backup'; readonly argument: BackupOrder }
  | { readonly call: number; readonly method: 'restore'; readonly argument: RestoreOrder }
  | { readonly call: number; readonly method: 'restoreOnto'; readonly argument: RestoreOntoOrder }
  | {
      readonly call: number;
      readonly method: 'tombstone' | 'identify';
      readonly argument: { readonly repository: RepositoryAddress; readonly domain: string; readonly session: string };
    };

/** `admitted`: the call that asked with `needs` may write. */
export type MoverMessage = MoverRequest | { readonly abort: number } | { readonly admitted: number };

export type MoverAnswer =
  | { readonly call: number; readonly value: unknown }
  | { readonly call: number; readonly error: PlainError }
  | { readonly call: number; readonly progress: readonly [doneBytes: number, totalBytes: number] }
  | { readonly call: number; readonly needs: number };
