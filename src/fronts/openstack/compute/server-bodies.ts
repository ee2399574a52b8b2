/** What the requests on servers ask for. */
import { isIPv4, isIPv6 } from 'node:net';
import Type from 'typebox';
import { booleanLike, text, uuid } from '../shared/body.ts';
import { wholeNumber } from './body-types.ts';

const strict = { additionalProperties: false };

const visible = /^(?![\s])[^\p{Cc}]{1,255}(?<![\s])$/u;

/** Spaces around it are a mistake, and so are characters that nobody can see. */
export const serverName = Type.Refine(
  Type.String(),
  (name) => visible.test(name) && [...name].length <= 255,
  () => '{value} is not a name: 1 to 255 printable characters, without spaces around them',
);

const metadataKey = /^[a-zA-Z0-9-_:. ]{1,255}$/;
export const metadataOf = (valueMax: number) =>
  Type.Refine(
    Type.Record(Type.String(), text(valueMax)),
    (pairs) => Object.keys(pairs).every((key) => metadataKey.test(key)),
    () => '{value} has a key that is not of 1 to 255 letters, digits, dashes, underscores, colons, dots and spaces',
  );
export const metadata = metadataOf(255);

export const tag = Type.Refine(
  text(60, 1),
  (name) => !/[/,]/.test(name),
  () => '{value} has a slash or a comma in it',
);
export const tagsMax = 50;
export const tags = Type.Refine(
  Type.Array(tag),
  (names) => names.length <= tagsMax,
  () => '{value} are more than 50 tags',
);

/** As a number, a text of digits, or null; below 0 counts as null. */
const bootIndex = Type.Refine(
  Type.Unsafe<number | string | null>({}),
  (index) =>
    index === null || (typeof index === 'number' ? Number.isInteger(index) : typeof index === 'string' && /^-?\d{1,9}$/.test(index)),
  () => '{value} is not a boot index',
);

const device = Type.Object(
  {
    source_type: Type.Optional(
      Type.Union([Type.Literal('volume'), Type.Literal('image'), Type.Literal('snapshot'), Type.Literal('blank')]),
    ),
    destination_type: Type.Optional(Type.Union([Type.Literal('local'), Type.Literal('volume')])),
    uuid: Type.Optional(Type.Union([Type.Literal(''), uuid, Type.Null()])),
    image_id: Type.Optional(uuid),
    volume_id: Type.Optional(uuid),
    snapshot_id: Type.Optional(uuid),
    boot_index: Type.Optional(bootIndex),
    volume_size: Type.Optional(Type.Union([wholeNumber(1), Type.Literal(''), Type.Null()])),
    delete_on_termination: Type.Optional(booleanLike),
    device_name: Type.Optional(Type.Union([text(255), Type.Null()])),
    disk_bus: Type.Optional(Type.Union([text(255), Type.Null()])),
    device_type: Type.Optional(Type.Union([text(255), Type.Null()])),
    guest_format: Type.Optional(Type.Union([text(255), Type.Null()])),
    no_device: Type.Optional(Type.Unsafe<unknown>({})),
    tag: Type.Optional(Type.Union([tag, Type.Null()])),
    volume_type: Type.Optional(Type.Union([text(255), Type.Null()])),
  },
  strict,
);

/** `volume_id:type:size:delete` in parts, as the oldest clients send it. */
const legacyDevice = Type.Object(
  {
    device_name: Type.Optional(Type.Union([text(255), Type.Null()])),
    virtual_name: Type.Optional(text(255)),
    volume_id: Type.Optional(uuid),
    snapshot_id: Type.Optional(uuid),
    volume_size: Type.Optional(Type.Union([wholeNumber(1), Type.Literal(''), Type.Null()])),
    delete_on_termination: Type.Optional(booleanLike),
    no_device: Type.Optional(Type.Unsafe<unknown>({})),
    connection_info: Type.Optional(Type.Unsafe<unknown>({})),
  },
  strict,
);

const base64 = Type.Refine(
  Type.String(),
  (data) => data.length <= 65_535 && /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(data),
  () => '{value} is not base64 of at most 65535 characters',
);

const network = Type.Object({}, { additionalProperties: true });

/** Empty: none. */
const address = (isOne: (text: string) => boolean) =>
  Type.Refine(
    Type.String(),
    (value) => value === '' || (isOne(value) && !value.includes('%')),
    () => '{value} is not an address of that version',
  );

/** As RFC 5952 writes it. */
export const canonicalAddress = (address: string): string => (address === '' ? '' : new URL(`http://[${address}]`).hostname.slice(1, -1));

const createFields = {
  name: serverName,
  flavorRef: Type.Union([text(255, 1), Type.Integer()]),
  imageRef: Type.Optional(Type.Union([Type.Literal(''), text(255)])),
  networks: Type.Optional(Type.Union([Type.Array(network), Type.Literal('none'), Type.Literal('auto')])),
  min_count: Type.Optional(wholeNumber(1)),
  max_count: Type.Optional(wholeNumber(1)),
  return_reservation_id: Type.Optional(booleanLike),
  metadata: Type.Optional(metadata),
  key_name: Type.Optional(Type.Union([text(255, 1), Type.Null()])),
  security_groups: Type.Optional(Type.Array(Type.Object({ name: Type.Optional(text(255)) }, strict))),
  user_data: Type.Optional(Type.Union([base64, Type.Null()])),
  availability_zone: Type.Optional(Type.Union([text(255), Type.Null()])),
  config_drive: Type.Optional(Type.Union([booleanLike, Type.Null()])),
  adminPass: Type.Optional(Type.String()),
  'OS-DCF:diskConfig': Type.Optional(Type.Union([Type.Literal('AUTO'), Type.Literal('MANUAL')])),
  accessIPv4: Type.Optional(address(isIPv4)),
  accessIPv6: Type.Optional(address(isIPv6)),
  block_device_mapping_v2: Type.Optional(Type.Array(device)),
  block_device_mapping: Type.Optional(Type.Array(legacyDevice)),
  personality: Type.Optional(Type.Array(Type.Unsafe<unknown>({}))),
  description: Type.Optional(Type.Union([text(255), Type.Null()])),
  tags: Type.Optional(tags),
  trusted_image_certificates: Type.Optional(Type.Union([Type.Array(text(255)), Type.Null()])),
  host: Type.Optional(text(255)),
  hypervisor_hostname: Type.Optional(text(255)),
  hostname: Type.Optional(text(255, 1)),
};

/** From which minor version on a field is known. */
export const createdSince: Readonly<Record<string, number>> = {
  description: 19,
  tags: 52,
  trusted_image_certificates: 63,
  host: 74,
  hypervisor_hostname: 74,
  hostname: 90,
};

const hints = Type.Object({}, { additionalProperties: true });

export const createServer = Type.Object(
  {
    server: Type.Object(createFields, strict),
    'os:scheduler_hints': Type.Optional(hints),
    'OS-SCH-HNT:scheduler_hints': Type.Optional(hints),
  },
  strict,
);

export const updateServer = Type.Object(
  {
    server: Type.Object(
      {
        name: Type.Optional(serverName),
        'OS-DCF:diskConfig': Type.Optional(Type.Union([Type.Literal('AUTO'), Type.Literal('MANUAL')])),
        accessIPv4: Type.Optional(address(isIPv4)),
        accessIPv6: Type.Optional(address(isIPv6)),
        description: Type.Optional(Type.Union([text(255), Type.Null()])),
        hostname: Type.Optional(text(255, 1)),
      },
      strict,
    ),
  },
  strict,
);

export const metadataBody = Type.Object({ metadata }, strict);
export const metaBody = Type.Object({ meta: metadata }, strict);
export const tagsBody = Type.Object({ tags }, strict);

export const actionSchemas = {
  createImage: Type.Object({ name: serverName, metadata: Type.Optional(metadata) }, strict),
  reboot: Type.Object(
    {
      type: Type.Refine(
        Type.String(),
        (type) => /^(?:hard|soft)$/i.test(type),
        () => '{value} is not one of HARD, SOFT',
      ),
    },
    strict,
  ),
  lock: Type.Union([Type.Null(), Type.Object({ locked_reason: Type.Optional(text(255, 1)) }, strict)]),
  resetState: Type.Object({ state: Type.Union([Type.Literal('active'), Type.Literal('error')]) }, strict),
  consoleOutput: Type.Union([
    Type.Null(),
    Type.Object({ length: Type.Optional(Type.Union([Type.Null(), Type.Unsafe<number | string>({})])) }, strict),
  ]),
} as const;

export const attachVolume = Type.Object(
  {
    volumeAttachment: Type.Object(
      {
        volumeId: uuid,
        device: Type.Optional(
          Type.Union([
            Type.Null(),
            Type.Refine(
              Type.String(),
              (name) => /^(?:\/dev\/)?(?:x?vd|[hs]d)[a-z]{1,2}$/.test(name),
              () => '{value} is not the name of a device',
            ),
          ]),
        ),
        tag: Type.Optional(tag),
        delete_on_termination: Type.Optional(booleanLike),
      },
      strict,
    ),
  },
  strict,
);

export const changeAttachment = Type.Object(
  {
    volumeAttachment: Type.Object(
      {
        volumeId: uuid,
        device: Type.Optional(Type.Union([Type.Null(), text(255)])),
        tag: Type.Optional(tag),
        delete_on_termination: Type.Optional(booleanLike),
        id: Type.Optional(uuid),
        serverId: Type.Optional(uuid),
        attachment_id: Type.Optional(uuid),
        bdm_uuid: Type.Optional(uuid),
      },
      strict,
    ),
  },
  strict,
);
