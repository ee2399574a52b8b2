/**
 * What the placeholders of the matrix stand for. A thing is made when a request names it, through the public APIs. Those of projects belong to the
 * project of the reader and the member; unless its maker says otherwise, the member made it.
 */
import { blockStorageThings } from './block-storage-things.ts';
import { computeThings } from './compute-things.ts';
import { identityThings } from './identity-things.ts';
import { imageThings } from './image-things.ts';
import type { World } from './world.ts';

/** Another thing of the same request: `{snapshot}` is one of its `{volume}`. */
export type Need = (name: string) => Promise<string>;
/** Returns what stands for it on the wire, mostly an id. */
export type Maker = (world: World, need: Need) => Promise<string> | string;

const makers: Readonly<Record<string, Maker>> = { ...identityThings, ...imageThings, ...blockStorageThings, ...computeThings };

export const knownThings: ReadonlySet<string> = new Set(Object.keys(makers));

/** Each thing once. */
export function thingsOf(world: World): Need {
  const made = new Map<string, Promise<string>>();
  const need: Need = (name) => {
    const known = made.get(name);
    if (known !== undefined) return known;
    const maker = makers[name];
    if (maker === undefined) throw new Error(`nobody can make {${name}}`);
    const making = Promise.resolve(maker(world, need));
    made.set(name, making);
    return making;
  };
  return need;
}
