/**
 * How many references a map holds to each pack: one for each chunk entry of each leaf, and one for each stored node, the top included.
 * Kept exact over incrementals, by counting down what an entry stops to refer to and counting up what it refers to now, so that a
 * pack without references is known at once and a collector never has to walk maps to learn it.
 */
import { RepositoryError } from './errors.ts';
import { FAN_OUT, objectNames, type PackName } from './format.ts';
import type { MapNode } from './map-node.ts';
import type { PackKind } from './pack-format.ts';

export interface PackReferences {
  readonly name: PackName;
  readonly kind: PackKind;
  readonly lengthBytes: number;
  /** References from this map. Never 0. */
  readonly live: number;
}

export class ReferenceCounts {
  readonly #live = new Map<PackName, number>();
  readonly #known = new Map<PackName, { readonly kind: PackKind; readonly lengthBytes: number }>();

  static from(packs: readonly PackReferences[]): ReferenceCounts {
    const counts = new ReferenceCounts();
    for (const pack of packs) {
      counts.describe(pack);
      counts.add(pack.name, pack.live);
    }
    return counts;
  }

  /** Says what a pack is. Needed before `list` for each pack that is referred to. */
  describe(pack: { readonly name: PackName; readonly kind: PackKind; readonly lengthBytes: number }): void {
    this.#known.set(pack.name, { kind: pack.kind, lengthBytes: pack.lengthBytes });
  }

  add(name: PackName, references: number): void {
    this.#live.set(name, (this.#live.get(name) ?? 0) + references);
  }

  /** Adds (or with -1 takes away) what the entries of a node refer to. */
  addEntries(node: MapNode, sign: 1 | -1): void {
    for (let index = 0; index < FAN_OUT; index += 1) {
      const pack = node.packOf(index);
      if (pack !== undefined) this.add(pack, sign);
    }
  }

  /** The packs that the map needs, in the order of their names. */
  list(): PackReferences[] {
    const packs: PackReferences[] = [];
    for (const [name, live] of this.#live) {
      if (live === 0) continue;
      const known = this.#known.get(name);
      if (live < 0 || known === undefined) {
        // The base's commit contradicts its own map: nothing may be built on it.
        const objectName = objectNames.pack(name);
        throw new RepositoryError('corrupted', `the pack ${name} has ${live} references, or is not in the commit's list`, { objectName });
      }
      packs.push({ name, live, ...known });
    }
    return packs.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}
