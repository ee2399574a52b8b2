/**
 * What disks were promised and what they take: for all together, and for one volume.
 *
 * A layer's bytes are measured once and kept in its row, for a frozen layer never changes and there may be a hundred thousand. The rule: null means that
 * it has to be measured; whoever lets a file be written to makes it null again; and what a running server writes to is never kept. A
 * measurement is stored only if the row is still the version that was read before the file was looked at.
 */
import { sql as query } from 'kysely';
import type { Layer, VolumeBackend } from '../../engine/volumes/contract.ts';
import type { Database } from '../database/service.ts';
import { type DiskSpace, type DiskUsage, type Sharer, sharers } from './contract.ts';
import { layerBelow } from './layer-store.ts';

export interface DiskFigures {
  total(): Promise<DiskSpace>;
  /** Undefined when the volume has no disk. */
  usageOf(volumeId: string): Promise<DiskUsage | undefined>;
}

interface Unmeasured extends Layer {
  readonly version: string;
}

const measuredAtOnce = 64;

export function createDiskFigures({
  database,
  backend,
}: {
  database: Database;
  backend: Pick<VolumeBackend, 'allocatedBytes'>;
}): DiskFigures {
  const { sql } = database;

  /** The bytes of these layers, by id; those that nobody writes to are stored. */
  async function measure(layers: readonly Unmeasured[]): Promise<Map<string, number>> {
    const bytes = new Map<string, number>();
    for (let at = 0; at < layers.length; at += measuredAtOnce) {
      const some = layers.slice(at, at + measuredAtOnce);
      await Promise.all(some.map(async (layer) => bytes.set(layer.id, await backend.allocatedBytes(layer))));
    }
    if (layers.length > 0) await store(layers, bytes);
    return bytes;
  }

  async function store(layers: readonly Unmeasured[], bytes: ReadonlyMap<string, number>): Promise<void> {
    const [ids, versions] = [layers.map(({ id }) => id), layers.map(({ version }) => version)];
    await query`
      UPDATE layers SET allocated_bytes = measured.bytes
      FROM unnest(${ids}::uuid[], ${versions}::text[], ${ids.map((id) => bytes.get(id) ?? 0)}::bigint[]) AS measured (id, version, bytes)
      WHERE layers.id = measured.id AND layers.xmin::text = measured.version AND state IN ('frozen', 'top')
        AND NOT EXISTS (SELECT FROM volumes JOIN volume_exports ON volume_id = volumes.id WHERE top_layer_id = layers.id)
        AND NOT EXISTS (SELECT FROM layers AS younger WHERE younger.parent_id = layers.id AND younger.state = 'merging')`.execute(sql);
  }

  return {
    async total() {
      const { rows: unmeasured } = await query<Unmeasured>`
        SELECT id, home, format, size_bytes AS "sizeBytes", xmin::text AS version FROM layers WHERE allocated_bytes IS NULL`.execute(sql);
      const fresh = await measure(unmeasured);
      // What was stored in the meantime must not count twice.
      const { rows } = await query<DiskSpace>`
        SELECT (SELECT coalesce(sum(size_bytes), 0)::bigint FROM layers JOIN volumes ON top_layer_id = layers.id) AS "virtualBytes",
          (SELECT coalesce(sum(allocated_bytes), 0)::bigint FROM layers WHERE id <> ALL (${[...fresh.keys()]}::uuid[])) AS "allocatedBytes"`.execute(
        sql,
      );
      const [known] = rows;
      if (known === undefined) throw new Error('a SELECT of two sums gave no row');
      return { virtualBytes: known.virtualBytes, allocatedBytes: known.allocatedBytes + sum(fresh.values()) };
    },

    async usageOf(volumeId) {
      const chain = await chainWithNeeds(database, volumeId);
      const [top] = chain;
      if (top === undefined) return undefined;
      const fresh = await measure(chain.filter(({ allocatedBytes }) => allocatedBytes === null));
      const sharedBytes: Record<Sharer, number> = { images: 0, snapshots: 0, volumes: 0, others: 0 };
      let exclusiveBytes = 0;
      const needed = new Set<Sharer>();
      for (const layer of chain) {
        // Who needs a layer needs all that are below it.
        for (const sharer of layer.needs) needed.add(sharer);
        const bytes = layer.allocatedBytes ?? fresh.get(layer.id) ?? 0;
        const sharer = sharers.find((one) => needed.has(one));
        if (sharer === undefined) exclusiveBytes += bytes;
        else sharedBytes[sharer] += bytes;
      }
      return { virtualBytes: top.sizeBytes, exclusiveBytes, sharedBytes };
    },
  };
}

interface ChainLayer extends Unmeasured {
  readonly allocatedBytes: number | null;
  /** Who, beside this volume, needs the layer itself, or one that stands on it outside of the chain. */
  readonly needs: readonly Sharer[];
}

/** The layers of a volume from the top to the bottom. */
async function chainWithNeeds({ sql }: Database, volumeId: string): Promise<readonly ChainLayer[]> {
  const { rows } = await query<ChainLayer>`
    WITH RECURSIVE chain AS (
      SELECT layers.id, layers.parent_id, 0 AS depth FROM layers JOIN volumes ON top_layer_id = layers.id WHERE volumes.id = ${volumeId}
      UNION ALL SELECT below.id, below.parent_id, depth + 1 FROM ${layerBelow}
    ), above AS (
      SELECT id, id AS foot FROM chain
      UNION ALL SELECT layers.id, foot FROM layers JOIN above ON layers.parent_id = above.id WHERE layers.id NOT IN (SELECT id FROM chain)
    ), needs AS (
      SELECT foot, CASE split_part(holder, ':', 1) WHEN 'image' THEN 'images' WHEN 'snapshot' THEN 'snapshots' ELSE 'others' END AS sharer
      FROM above JOIN points ON layer_id = above.id JOIN point_holds ON point_id = points.id
      UNION SELECT foot, 'volumes' FROM above JOIN volumes ON top_layer_id = above.id WHERE volumes.id <> ${volumeId}
    )
    SELECT layers.id, home, format, size_bytes AS "sizeBytes", layers.xmin::text AS version, allocated_bytes AS "allocatedBytes",
      ARRAY(SELECT sharer FROM needs WHERE foot = layers.id) AS needs
    FROM chain JOIN layers ON layers.id = chain.id ORDER BY depth`.execute(sql);
  return rows;
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
