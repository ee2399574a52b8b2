/** What a scene is, and what most of them begin with. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Api } from '../support/api.ts';
import { scatteredBlocks } from '../support/disks.ts';
import { letGo, makeImage, makeModel, makeVolume, writeToVolume } from '../support/scenario.ts';

/**
 * One long operation as the kill tests need it: what has to be there first, the operation, and what must hold whatever happened to it.
 * All in terms of the public APIs. An operation may run any number of times on one service.
 */
export interface Scene {
  readonly name: string;
  /** The data mover or the server of a disk takes part in it. */
  readonly hasHelpers: boolean;
  prepare(api: Api, folder: string): Promise<PreparedScene>;
}

export interface PreparedScene {
  /** Runs the operation to its end. Throws when it does not end well; a dying service makes it throw too. */
  operate(api: Api): Promise<void>;
  /** Every byte that was acknowledged earlier is still there. */
  check(api: Api): Promise<void>;
}

const diskMib = 24;
export const diskBytes = diskMib << 20;

/** A volume of 24 MiB of data (a third of it zeroes) in 1 GiB, with a file that holds the same. */
export async function volumeWithData(api: Api, folder: string, name: string): Promise<{ id: string; model: string; image: string }> {
  const bytes = Buffer.concat([randomBytes(diskBytes / 3), Buffer.alloc(diskBytes / 3), Buffer.alloc(diskBytes / 3, 'stillpoint ')]);
  const image = await makeImage(api, name, bytes);
  const id = await makeVolume(api, { imageRef: image }, name);
  const model = await makeModel(folder, `${name}.model`, bytes);
  await writeToVolume(api, id, model, scatteredBlocks(diskBytes, 5), 7);
  return { id, model, image };
}

/** What a model holds of the volume's data; behind it are zeroes. */
export const readHead = async (model: string): Promise<Buffer> => (await readFile(model)).subarray(0, diskBytes);

export async function mustVanish(api: Api, collection: 'volumes' | 'snapshots' | 'backups', id: string): Promise<void> {
  if (collection === 'volumes') await letGo(api, id);
  await api.volume('DELETE', `/${collection}/${id}`);
  const left = await api.settled(collection, id);
  if (left !== undefined) throw new Error(`${collection} ${id} is ${left.status}, not gone`);
}
