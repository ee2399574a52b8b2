/** `POST /volumes/{id}/action`: what each action asks for, does, and answers. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { badRequest } from '../../../lib/errors.ts';
import { actionIn, taking } from '../shared/actions.ts';
import { parseBody, parseBoolean } from '../shared/body.ts';
import { connectionData, driverVolumeType } from './connection-info.ts';
import type { BlockStorageFront } from './context.ts';
import { requireSince } from './since.ts';
import { uploadImage } from './upload-image.ts';
import { actionSchemas as schemas } from './volume-bodies.ts';

type ActionRequest = FastifyRequest<{ Params: { id: string } }>;

/** What is sent back: 202 and nothing, unless it says otherwise. */
interface Answer {
  readonly code: 200 | 202;
  readonly body?: unknown;
}

type Action = (front: BlockStorageFront, request: ActionRequest, argument: unknown) => Promise<Answer | undefined>;

/** Actions without an argument: whatever is sent as one is let through, as by the original. */
const plain =
  (name: 'reserve' | 'unreserve' | 'beginDetaching' | 'rollDetaching' | 'forceDelete'): Action =>
  async ({ volumes }, { caller, params }) => {
    await volumes[name](caller, params.id);
    return undefined;
  };

const actions: Readonly<Record<string, Action>> = {
  'os-reserve': plain('reserve'),
  'os-unreserve': plain('unreserve'),
  'os-begin_detaching': plain('beginDetaching'),
  'os-roll_detaching': plain('rollDetaching'),
  'os-force_delete': plain('forceDelete'),
  async 'os-attach'({ volumes }, { caller, params }, argument) {
    const asked = parseBody(schemas['os-attach'], argument);
    const [instanceId, hostName] = [asked.instance_uuid ?? null, asked.host_name ?? null];
    if ((instanceId === null) === (hostName === null)) {
      throw badRequest('Invalid request to attach volume to an invalid target');
    }
    await volumes.attach(caller, params.id, { instanceId, hostName, mountpoint: asked.mountpoint ?? null, mode: asked.mode ?? 'rw' });
    return undefined;
  },
  async 'os-detach'({ volumes }, { caller, params }, argument) {
    const asked = parseBody(schemas['os-detach'], argument);
    await volumes.detach(caller, params.id, asked?.attachment_id ?? null);
    return undefined;
  },
  async 'os-force_detach'({ volumes }, { caller, params }, argument) {
    const asked = parseBody(schemas['os-force_detach'], argument);
    await volumes.forceDetach(caller, params.id, asked.attachment_id ?? null);
    return undefined;
  },
  async 'os-initialize_connection'({ volumes }, { caller, params }, argument) {
    const { connector } = parseBody(schemas['os-initialize_connection'], argument);
    const connection = await volumes.initializeConnection(caller, params.id, { readOnly: connector.mode === 'ro' });
    const info = { driver_volume_type: driverVolumeType, data: connectionData(params.id, connection) };
    return { code: 200, body: { connection_info: info } };
  },
  async 'os-terminate_connection'({ volumes }, { caller, params }, argument) {
    parseBody(schemas['os-terminate_connection'], argument);
    await volumes.terminateConnection(caller, params.id);
    return undefined;
  },
  async 'os-extend'({ volumes }, { caller, params }, argument) {
    const asked = parseBody(schemas['os-extend'], argument);
    await volumes.extend(caller, params.id, Number(asked.new_size));
    return undefined;
  },
  async revert({ snapshots }, { caller, params, microversion }, argument) {
    requireSince(microversion, 40);
    const { snapshot_id: snapshotId } = parseBody(schemas.revert, argument);
    await snapshots.revert(caller, { volumeId: params.id, snapshotId, latestOnly: true });
    return undefined;
  },
  async 'os-reimage'({ volumes }, { caller, params, microversion }, argument) {
    requireSince(microversion, 68);
    const asked = parseBody(schemas['os-reimage'], argument);
    await volumes.reimage(caller, {
      volumeId: params.id,
      imageId: asked.image_id,
      evenReserved: parseBoolean(asked.reimage_reserved ?? false) === true,
    });
    return undefined;
  },
  async 'os-reset_status'({ volumes }, { caller, params }, argument) {
    const asked = parseBody(schemas['os-reset_status'], argument);
    await volumes.resetStatus(caller, params.id, { status: asked.status ?? null, attachStatus: asked.attach_status ?? null });
    return undefined;
  },
  'os-volume_upload_image': uploadImage,
  async 'os-retype'({ volumes }, { caller, params }, argument) {
    await volumes.retype(caller, params.id, parseBody(schemas['os-retype'], argument).new_type);
    return undefined;
  },
  async 'os-migrate_volume'({ volumes }, { caller, params }, argument) {
    await volumes.migrate(caller, params.id, parseBody(schemas['os-migrate_volume'], argument).host ?? null);
    return undefined;
  },
  async 'os-unmanage'({ volumes }, { caller, params }) {
    await volumes.unmanage(caller, params.id);
    return undefined;
  },
  async 'os-set_bootable'({ volumes }, { caller, params }, argument) {
    const { bootable } = parseBody(schemas['os-set_bootable'], argument);
    await volumes.setBootable(caller, params.id, parseBoolean(bootable) === true);
    return { code: 200 };
  },
  async 'os-update_readonly_flag'({ volumes }, { caller, params }, argument) {
    const asked = parseBody(schemas['os-update_readonly_flag'], argument);
    await volumes.setReadonly(caller, params.id, parseBoolean(asked.readonly) === true);
    return undefined;
  },
  async 'os-set_image_metadata'({ volumes }, { caller, params }, argument) {
    const { metadata: pairs } = parseBody(schemas['os-set_image_metadata'], argument);
    return { code: 200, body: { metadata: await volumes.changeImageMetadata(caller, params.id, { kind: 'merge', pairs }) } };
  },
  async 'os-unset_image_metadata'({ volumes }, { caller, params }, argument) {
    const { key } = parseBody(schemas['os-unset_image_metadata'], argument);
    await volumes.changeImageMetadata(caller, params.id, { kind: 'remove', key });
    return { code: 200 };
  },
  async 'os-show_image_metadata'({ volumes }, { caller, params }) {
    return { code: 200, body: { metadata: (await volumes.get(caller, params.id)).imageMetadata } };
  },
};

export function registerVolumeActionRoutes(app: FastifyInstance, front: BlockStorageFront): void {
  app.post('/volumes/:id/action', taking(actions), async (request: ActionRequest, reply: FastifyReply) => {
    const { name, argument } = actionIn(request.body, actions);
    const answer = await (actions[name] as Action)(front, request, argument);
    return reply.code(answer?.code ?? 202).send(answer?.body);
  });
}
