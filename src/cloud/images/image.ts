import type { DiskKind } from '../../engine/image-intake/disk-kind.ts';
import type { StringMap, Timestamp } from '../database/service.ts';
import type { ImageStatus } from './states.ts';

export const visibilities = ['community', 'public', 'private', 'shared'] as const;
export type Visibility = (typeof visibilities)[number];

export const containerFormats = ['ami', 'ari', 'aki', 'bare', 'ovf', 'ova', 'docker', 'compressed'] as const;
export const diskFormats = ['ami', 'ari', 'aki', 'vhd', 'vhdx', 'vmdk', 'raw', 'qcow2', 'vdi', 'iso', 'ploop'] as const;

/** What the owner may say about an image. */
export interface ImageAttributes {
  readonly name: string | null;
  readonly owner: string;
  readonly visibility: Visibility;
  readonly protected: boolean;
  readonly hidden: boolean;
  readonly containerFormat: string | null;
  readonly diskFormat: string | null;
  readonly minDiskGib: number;
  readonly minRamMib: number;
  readonly tags: readonly string[];
}

export interface Image extends ImageAttributes {
  readonly id: string;
  readonly status: ImageStatus;
  readonly sizeBytes: number | null;
  /** The size of the disk inside; null while unknown, and for data that we do not open. */
  readonly virtualBytes: number | null;
  /** MD5 of the original bytes, hexadecimal. */
  readonly checksum: string | null;
  readonly hashAlgorithm: string | null;
  readonly hashValue: string | null;
  readonly properties: StringMap;
  /** Where volumes made from the image start; null when it holds no disk that we open. */
  readonly pointId: string | null;
  /** Bytes that have arrived and are no data of the image yet: they wait to be imported, or are being prepared. */
  readonly staged: StagedBytes | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

/** Durable in the files of one upload attempt. */
export type StagedBytes = {
  readonly uploadId: string;
  readonly sizeBytes: number;
  readonly md5: string;
  readonly sha512: string;
};

/** What only an upload knows. */
export interface ImageData {
  readonly sizeBytes: number;
  readonly virtualBytes: number | null;
  readonly checksum: string;
  readonly hashAlgorithm: 'sha512';
  readonly hashValue: string;
  readonly pointId: string | null;
}

export interface NewImage extends Partial<ImageAttributes> {
  readonly id?: string;
  readonly properties: StringMap;
}

/** One operation of an update. Attributes always exist; properties may or may not. */
export type ImageChange =
  | {
      readonly kind: 'attribute';
      readonly op: ChangeOperation;
      /** As the wire calls it, for messages. */
      readonly wireName: string;
      /** Empty for a removal. */
      readonly values: Partial<ImageAttributes>;
    }
  | { readonly kind: 'property'; readonly op: ChangeOperation; readonly name: string; readonly value: string };

/** `create` is an addition that refuses to replace, as the older patch format has it. */
export type ChangeOperation = 'add' | 'create' | 'replace' | 'remove';

export const memberStatuses = ['pending', 'accepted', 'rejected'] as const;
/** What a project says to an image that is shared with it. */
export type MemberStatus = (typeof memberStatuses)[number];

export const taskStatuses = ['pending', 'processing', 'success', 'failure'] as const;
/** Of an import. */
export type TaskStatus = (typeof taskStatuses)[number];

export const propertiesMax = 128;
export const tagsMax = 128;

const diskKinds: Readonly<Record<string, DiskKind>> = {
  raw: 'raw',
  iso: 'iso',
  qcow2: 'qcow2',
  vmdk: 'vmdk',
  vhd: 'vpc',
  vhdx: 'vhdx',
  vdi: 'vdi',
};

/** How volumes may start from the image. `opaque`: kept and handed out as it is, never opened. */
export function diskKindOf(image: Pick<Image, 'containerFormat' | 'diskFormat'>): DiskKind | 'opaque' {
  return image.containerFormat === 'bare' ? (diskKinds[image.diskFormat ?? ''] ?? 'opaque') : 'opaque';
}
