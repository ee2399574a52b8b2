import { createIdHasher, type IdHasher } from '../repository/chunk-id.ts';
import { NodeReader } from '../repository/disk-map.ts';
import { FRAME_BYTES_MAX } from '../repository/format.ts';
import { createFrameCodec, type FrameCodec } from '../repository/frame-codec.ts';
import { PackReader } from '../repository/pack-reader.ts';
import type { DomainKeys, Repository } from '../repository/repository.ts';
import type { ObjectStore } from '../stores/contract.ts';
import type { RepositoryAddress } from './contract.ts';
import { openStore } from './open-store.ts';
import type { DomainAccess } from './worker-protocol.ts';

/** Everything that one thread needs to read and write a domain. */
export interface DomainTools {
  readonly store: ObjectStore;
  readonly repositoryId: string;
  readonly keys: DomainKeys;
  readonly hasher: IdHasher;
  readonly codec: FrameCodec;
  readonly packs: PackReader;
  readonly nodes: NodeReader;
}

export function toolsOf(store: ObjectStore, repositoryId: string, keys: DomainKeys): DomainTools {
  const codec = createFrameCodec(FRAME_BYTES_MAX);
  const hasher = createIdHasher(keys.idKey);
  const packs = new PackReader(store, repositoryId, keys, codec);
  return { store, repositoryId, keys, hasher, codec, packs, nodes: new NodeReader(packs, hasher) };
}

export function accessOf(address: RepositoryAddress['store'], repository: Repository, keys: DomainKeys): DomainAccess {
  const { domain, idKey, sealKey, macKey } = keys;
  return { store: address, repositoryId: repository.id, domain, idKey, sealKey, macKey };
}

/** Opens in a worker what the job's own thread opened before. */
export function openAccess(access: DomainAccess): DomainTools {
  const { domain, idKey, sealKey, macKey } = access;
  const keys = { domain, idKey: Buffer.from(idKey), sealKey: Buffer.from(sealKey), macKey: Buffer.from(macKey) };
  return toolsOf(openStore(access.store), access.repositoryId, keys);
}
