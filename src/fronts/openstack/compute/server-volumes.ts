/** `/servers/{id}/os-volume_attachments`: the volumes of a server, by their own ids. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ServerDisk } from '../../../cloud/servers/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBody, parseBoolean } from '../shared/body.ts';
import type { ComputeFront } from './context.ts';
import { isSince } from './microversions.ts';
import { attachVolume, changeAttachment } from './server-bodies.ts';

type OfServer = { Params: { id: string } };
type OfVolume = { Params: { id: string; volumeId: string } };

export function registerServerVolumes(app: FastifyInstance, { servers }: ComputeFront): void {
  const all = '/servers/:id/os-volume_attachments';
  const one = `${all}/:volumeId`;
  app.get<OfServer>(all, async (request) => {
    const disks = await servers.attachments(request.caller, request.params.id);
    return { volumeAttachments: disks.map((disk) => view(request as FastifyRequest, request.params.id, disk)) };
  });
  app.get<OfVolume>(one, async (request) => {
    const { id, volumeId } = request.params;
    return { volumeAttachment: view(request as FastifyRequest, id, await servers.attachment(request.caller, id, volumeId)) };
  });
  app.post<OfServer>(all, async (request) => {
    const asked = parseBody(attachVolume, request.body).volumeAttachment;
    refuseUnknown(request as FastifyRequest, asked);
    const disk = await servers.attach(request.caller, request.params.id, {
      volumeId: asked.volumeId,
      device: asked.device?.replace('/dev/', '') ?? null,
      tag: asked.tag ?? null,
      deleteOnTermination: parseBoolean(asked.delete_on_termination) === true,
    });
    const { id, volumeId } = { id: disk.volumeId, volumeId: disk.volumeId };
    return { volumeAttachment: { id, ...view(request as FastifyRequest, request.params.id, disk), volumeId } };
  });
  app.put<OfVolume>(one, async (request, reply) => {
    const { id, volumeId } = request.params;
    const asked = parseBody(changeAttachment, request.body).volumeAttachment;
    const { delete_on_termination: deletion } = asked;
    await servers.attachment(request.caller, id, volumeId);
    if (asked.volumeId !== volumeId) throw badRequest('Volumes of servers are not swapped: detach the one, and attach the other.');
    if (deletion === undefined || !isSince(request.microversion, 85))
      throw badRequest(`The volume ${volumeId} is attached to the server already.`);
    await servers.setDeletion(request.caller, id, volumeId, parseBoolean(deletion) === true);
    return reply.code(202).send();
  });
  app.delete<OfVolume>(one, async ({ caller, params }, reply) => {
    await servers.detach(caller, params.id, params.volumeId);
    return reply.code(202).send();
  });
}

function refuseUnknown({ microversion }: FastifyRequest, asked: object): void {
  for (const [field, minor] of [
    ['tag', 49],
    ['delete_on_termination', 79],
  ] as const) {
    if (Object.hasOwn(asked, field) && !isSince(microversion, minor))
      throw badRequest(
        `Invalid input for field/attribute volumeAttachment. Additional properties are not allowed ('${field}' was unexpected)`,
      );
  }
}

function view({ microversion }: FastifyRequest, serverId: string, disk: ServerDisk): object {
  const since = (minor: number): boolean => isSince(microversion, minor);
  return {
    ...(!since(89) && { id: disk.volumeId }),
    serverId,
    volumeId: disk.volumeId,
    device: `/dev/${disk.device}`,
    ...(since(70) && { tag: disk.tag }),
    ...(since(79) && { delete_on_termination: disk.deleteOnTermination }),
    ...(since(89) && { attachment_id: disk.attachmentId, bdm_uuid: disk.attachmentId }),
  };
}
