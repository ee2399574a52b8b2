import { type MaybePromise, type ObjectStore, StoreError } from '../stores/contract.ts';
import { RepositoryError } from './errors.ts';

/** What an error of the store means for the object that was asked for. */
export function repositoryErrorOf(error: unknown, objectName: string): unknown {
  if (!(error instanceof StoreError)) return error;
  const details = { objectName, cause: error };
  switch (error.kind) {
    case 'missing':
      return new RepositoryError('missing', `the object ${objectName} is missing`, details);
    case 'short':
      return new RepositoryError('corrupted', `the object ${objectName} is shorter than it was`, details);
    default:
      return new RepositoryError(error.kind, error.message, details);
  }
}

/** Reads a part of an object: at once where the store answers at once. */
export function readObject(store: ObjectStore, name: string, offsetBytes: number, lengthBytes: number): MaybePromise<Buffer> {
  return readObjectInto(store, name, offsetBytes, Buffer.allocUnsafe(lengthBytes));
}

/** Fills `target` from a part of an object, and returns it. */
export function readObjectInto(store: ObjectStore, name: string, offsetBytes: number, target: Buffer): MaybePromise<Buffer> {
  try {
    const answer = store.read(name, offsetBytes, target);
    if (!(answer instanceof Promise)) return target;
    return answer.then(
      () => target,
      (error: unknown) => {
        throw repositoryErrorOf(error, name);
      },
    );
  } catch (error) {
    throw repositoryErrorOf(error, name);
  }
}

/** A whole small object, or undefined when there is none. */
export async function readSmallObject(store: ObjectStore, name: string, lengthBytesMax: number): Promise<Buffer | undefined> {
  return guarded(name, async () => {
    const lengthBytes = await store.length(name);
    if (lengthBytes === undefined) return undefined;
    if (lengthBytes > lengthBytesMax)
      throw new RepositoryError('corrupted', `the object ${name} is ${lengthBytes} bytes long`, { objectName: name });
    return readObject(store, name, 0, lengthBytes);
  });
}

/** Runs a call of the store, with its errors put into the words of the repository. */
export async function guarded<T>(objectName: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw repositoryErrorOf(error, objectName);
  }
}
