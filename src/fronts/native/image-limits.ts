/** `/image-limits/<project>`: what a project may have of images; clients of Image read it as `info/usage`. For administrators. */
import type { FastifyInstance } from 'fastify';
import type { ImageLimitQuotas } from '../../cloud/quotas/image-limits.ts';
import { badRequest } from '../../lib/errors.ts';

export interface ImageLimitRoutesDeps {
  readonly imageLimits: Pick<ImageLimitQuotas, 'set'>;
}

type WithProject = { Params: { project: string } };

export function registerImageLimitRoutes(app: FastifyInstance, { imageLimits }: ImageLimitRoutesDeps): void {
  app.put<WithProject>('/image-limits/:project', async (request) => ({
    image_limits: await imageLimits.set(request.caller, request.params.project, parseLimits(request.body)),
  }));
}

function parseLimits(body: unknown): Record<string, number> {
  const limits = (body as { image_limits?: unknown } | undefined)?.image_limits;
  const isMap = typeof limits === 'object' && limits !== null && !Array.isArray(limits);
  if (!isMap || Object.values(limits).some((limit) => typeof limit !== 'number')) {
    throw badRequest('The body is {"image_limits": {"image_size_total": <MiB>, …}}.');
  }
  return limits as Record<string, number>;
}
