/** Figures of space, for whoever runs the service; and `/volumes/{id}/usage`: what one disk takes. */
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import type { VolumesService } from '../../cloud/volumes/service.ts';

/** All in bytes, of the file system of the volumes. */
export interface SpaceSource {
  readonly capacityBytes: number;
  readonly freeBytes: number;
  readonly reservedBytes: number;
  readonly keptBytes: number;
  readonly availableBytes: number;
  /** Of all projects. */
  readonly virtualBytes: number;
  readonly allocatedBytes: number;
  readonly ballast: { readonly sizeBytes: number; readonly presentBytes: number };
}

const bytes = Type.Integer({ minimum: 0 });

export const Space = Type.Object({
  capacity_bytes: bytes,
  free_bytes: bytes,
  /** Promised to work that is under way, and not written yet. */
  reserved_bytes: bytes,
  /** New data never takes the last so many. */
  kept_bytes: bytes,
  available_bytes: bytes,
  /** The sizes of all volumes. */
  virtual_bytes: bytes,
  /** What the layers of all disks take. */
  allocated_bytes: bytes,
  /** What was promised, as a multiple of what the disks may take in all. */
  overcommit_ratio: Type.Number({ minimum: 0 }),
  /** Less is present than its size while the disk is full. */
  ballast: Type.Object({ size_bytes: bytes, present_bytes: bytes }),
});

export function spaceBody(space: SpaceSource): Static<typeof Space> {
  const { virtualBytes, allocatedBytes, availableBytes, ballast } = space;
  const ratio = virtualBytes / Math.max(1, allocatedBytes + availableBytes);
  return {
    capacity_bytes: space.capacityBytes,
    free_bytes: space.freeBytes,
    reserved_bytes: space.reservedBytes,
    kept_bytes: space.keptBytes,
    available_bytes: availableBytes,
    virtual_bytes: virtualBytes,
    allocated_bytes: allocatedBytes,
    overcommit_ratio: Math.round(ratio * 100) / 100,
    ballast: { size_bytes: ballast.sizeBytes, present_bytes: ballast.presentBytes },
  };
}

const Usage = Type.Object({
  volume_id: Type.String(),
  virtual_bytes: bytes,
  /** The sum of those below. */
  allocated_bytes: bytes,
  /** What would be free if the volume went, and nothing else. */
  exclusive_bytes: bytes,
  /** What would stay then, by who needs it; the first of these that applies. */
  shared_bytes: Type.Object({ images: bytes, snapshots: bytes, volumes: bytes, others: bytes }),
});

export interface UsageRouteDeps {
  readonly volumes: Pick<VolumesService, 'usage'>;
}

const none = { virtualBytes: 0, exclusiveBytes: 0, sharedBytes: { images: 0, snapshots: 0, volumes: 0, others: 0 } };

export function registerUsageRoute(app: FastifyInstance, { volumes }: UsageRouteDeps): void {
  app.get<{ Params: { id: string } }>('/volumes/:id/usage', async (request): Promise<{ usage: Static<typeof Usage> }> => {
    const { id } = request.params;
    const { virtualBytes, exclusiveBytes, sharedBytes } = (await volumes.usage(request.caller, id)) ?? none;
    const allocatedBytes = Object.values(sharedBytes).reduce((sum, part) => sum + part, exclusiveBytes);
    return {
      usage: {
        volume_id: id,
        virtual_bytes: virtualBytes,
        allocated_bytes: allocatedBytes,
        exclusive_bytes: exclusiveBytes,
        shared_bytes: sharedBytes,
      },
    };
  });
}
