/** The request to create a server, from the wire's words into ours. */
import type { FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import type { BlockDeviceOrder, CreateServerOrder } from '../../../cloud/servers/service.ts';
import { badRequest } from '../../../lib/errors.ts';
import { parseBody, parseBoolean } from '../shared/body.ts';
import { isSince } from './microversions.ts';
import { canonicalAddress, createdSince, createServer } from './server-bodies.ts';

type Asked = Static<typeof createServer>['server'];
type Device = NonNullable<Asked['block_device_mapping_v2']>[number];
type LegacyDevice = NonNullable<Asked['block_device_mapping']>[number];

export interface ServerOrder extends CreateServerOrder {
  readonly wantsReservation: boolean;
}

export function parseCreate(request: FastifyRequest): ServerOrder {
  const asked = parseBody(createServer, request.body).server;
  for (const [field, minor] of Object.entries(createdSince)) {
    if (Object.hasOwn(asked, field) && !isSince(request.microversion, minor)) throw unexpected(field);
  }
  checkNetworks(request, asked);
  const group = (asked.security_groups ?? []).find(({ name }) => name !== undefined && name !== 'default');
  if (group !== undefined) throw badRequest(`Security group ${group.name} not found.`);
  if (asked.host !== undefined || asked.hypervisor_hostname !== undefined) requireThisHost(asked);
  if ((asked.trusted_image_certificates ?? []).length > 0) throw badRequest('Certificate validation of images is not supported.');
  if ((asked.personality ?? []).length > 0) throw badRequest('Files cannot be put into servers: use user_data.');
  if (asked.block_device_mapping !== undefined && asked.block_device_mapping_v2 !== undefined)
    throw badRequest('Using different block_device_mapping syntaxes is not allowed in the same request.');
  const minCount = Number(asked.min_count ?? 1);
  const imageRef = asked.imageRef === undefined || asked.imageRef === '' ? null : asked.imageRef;
  const devices = [...(asked.block_device_mapping_v2 ?? []).map(deviceIn), ...(asked.block_device_mapping ?? []).map(legacyIn(imageRef))];
  if (imageRef === null && devices.length === 0) throw badRequest('Invalid imageRef provided.');
  return {
    name: asked.name,
    description: asked.description ?? (isSince(request.microversion, 19) ? null : asked.name),
    hostname: asked.hostname ?? null,
    accessIpV4: asked.accessIPv4 ?? '',
    accessIpV6: canonicalAddress(asked.accessIPv6 ?? ''),
    flavorRef: String(asked.flavorRef).split('/').at(-1) ?? '',
    imageRef,
    blockDevices: devices.filter((order) => order !== undefined),
    keyName: asked.key_name ?? null,
    userData: asked.user_data ?? null,
    metadata: asked.metadata ?? {},
    tags: asked.tags ?? [],
    diskConfig: asked['OS-DCF:diskConfig'] ?? 'MANUAL',
    availabilityZone: asked.availability_zone ?? null,
    minCount,
    maxCount: Number(asked.max_count ?? minCount),
    wantsReservation: parseBoolean(asked.return_reservation_id) === true,
  };
}

const unexpected = (field: string) =>
  badRequest(`Invalid input for field/attribute server. Additional properties are not allowed ('${field}' was unexpected)`);

/** Since 2.37 clients have to say what they want; there is nothing to choose from. */
function checkNetworks({ microversion }: FastifyRequest, { networks }: Asked): void {
  const isNew = isSince(microversion, 37);
  if (typeof networks === 'string' && !isNew)
    throw badRequest(`Invalid input for field/attribute networks. Value: ${networks}. '${networks}' is not of type 'array'`);
  if (networks === undefined && isNew) throw badRequest("Invalid input for field/attribute server. 'networks' is a required property");
  if (Array.isArray(networks) && networks.length > 0)
    throw badRequest('There are no networks in this cloud: servers are made with networks "none" or "auto".');
}

function requireThisHost({ host, hypervisor_hostname: hypervisor }: Asked): void {
  for (const name of [host, hypervisor]) {
    if (name !== undefined && name !== 'stillpoint') throw badRequest(`Compute host ${name} could not be found.`);
  }
}

function deviceIn(asked: Device): BlockDeviceOrder | undefined {
  if (parseBoolean(asked.no_device) === true) return undefined;
  const source = asked.source_type ?? sourceOf(asked);
  const id = asked.uuid || asked.image_id || asked.volume_id || asked.snapshot_id || null;
  const index = asked.boot_index === undefined || asked.boot_index === null ? null : Number(asked.boot_index);
  return {
    source,
    destination: asked.destination_type ?? (source === 'volume' || source === 'snapshot' ? 'volume' : 'local'),
    id,
    bootIndex: index === null || index < 0 ? null : index,
    sizeGib: sizeIn(asked.volume_size),
    deleteOnTermination: parseBoolean(asked.delete_on_termination) === true,
    device: asked.device_name || null,
    tag: asked.tag ?? null,
    volumeType: asked.volume_type ?? null,
  };
}

function sourceOf(asked: Device): BlockDeviceOrder['source'] {
  if (asked.image_id !== undefined) return 'image';
  if (asked.volume_id !== undefined) return 'volume';
  return asked.snapshot_id === undefined ? 'blank' : 'snapshot';
}

const sizeIn = (asked: string | number | null | undefined): number | null =>
  asked === undefined || asked === null || asked === '' ? null : Number(asked);

/** The first one is booted from when there is no image. */
const legacyIn =
  (imageRef: string | null) =>
  (asked: LegacyDevice, position: number): BlockDeviceOrder | undefined => {
    if (parseBoolean(asked.no_device) === true) return undefined;
    return {
      source: asked.snapshot_id === undefined ? 'volume' : 'snapshot',
      destination: 'volume',
      id: asked.snapshot_id ?? asked.volume_id ?? null,
      bootIndex: imageRef === null && position === 0 ? 0 : null,
      sizeGib: sizeIn(asked.volume_size),
      deleteOnTermination: parseBoolean(asked.delete_on_termination) === true,
      device: asked.device_name || null,
      tag: null,
      volumeType: null,
    };
  };
