/**
 * A repository: a store that describes itself, and the keys that open it.
 *
 * `repo.json` is written twice with the same bytes, so that one damaged copy costs nothing. It carries a check value made with the
 * master key: a wrong key is told at once and apart from damage. The order of making is staged key, `repo.json`, copy, key in its place; a
 * repeat after a crash goes on where the first attempt ended. A key is never made for a repository that exists, and a repository never
 * for a key that is in its place.
 *
 * Each domain has three random keys, sealed with the master key in `k/<domain>`: for chunk ids, for sealing, and for MACs. They are sealed
 * one by one, so that a collector can be given the MAC key alone.
 */
import { randomBytes } from 'node:crypto';
import type { ObjectStore } from '../stores/contract.ts';
import { RepositoryError } from './errors.ts';
import { CHUNK_BYTES, checkDomain, DESCRIPTION_NAMES, FORMAT_VERSION, objectNames } from './format.ts';
import { type MasterKey, publishKeyFile, readKeyFile, stageKeyFile } from './key-file.ts';
import { deriveKey, isSameMac, KEY_BYTES, macOf, seal, unseal } from './sealing.ts';
import { guarded, readSmallObject } from './store-access.ts';

const DESCRIPTION_BYTES_MAX = 64 * 1024;
const idPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export interface DomainKeys {
  readonly domain: string;
  /** Makes the ids of chunks and map nodes. Never changes: ids are only equal under equal keys. */
  readonly idKey: Buffer;
  /** Seals pack keys and commits. */
  readonly sealKey: Buffer;
  /** Authenticates what a collector must read without the sealing key. */
  readonly macKey: Buffer;
}

export interface Repository {
  readonly id: string;
  readonly store: ObjectStore;
  /** The keys of a domain; undefined when it has never been written to. */
  findDomain(domain: string): Promise<DomainKeys | undefined>;
  /** The keys of a domain, made when it has none. */
  createDomain(domain: string): Promise<DomainKeys>;
}

interface Description {
  readonly format: 'stillpoint-repository';
  readonly version: number;
  readonly id: string;
  readonly chunkSizeBytes: number;
  readonly createdAt: string;
  readonly check: string;
}

/** Makes the repository and its key file, or completes or opens what is there. Repeatable. */
export async function initRepository(options: {
  readonly store: ObjectStore;
  readonly id: string;
  readonly keyFile: string;
  readonly createdAt: string;
}): Promise<Repository> {
  const { store, id, keyFile } = options;
  if (!idPattern.test(id)) throw new TypeError(`not a repository id: ${JSON.stringify(id)}`);
  const [existing] = await findDescriptions(store);
  if (existing === undefined) {
    if (readKeyFile(keyFile) !== undefined) {
      throw new RepositoryError(
        'missing',
        `the repository of the key in ${keyFile} is not here: it is lost, or its file system is not mounted`,
      );
    }
    const master = stageKeyFile(keyFile, id);
    if (master.repositoryId !== id) throw foreignKey(keyFile, master, id);
    await putDescription(store, describe(id, options.createdAt, master.key));
  }
  publishKeyFile(keyFile);
  const repository = await openRepository({ store, keyFile, id });
  // A copy that an earlier attempt did not get to.
  if (existing !== undefined) await putDescription(store, existing);
  return repository;
}

/** Opens a repository. Without `id` whatever repository is in the store, if the key fits. */
export async function openRepository(options: {
  readonly store: ObjectStore;
  readonly keyFile: string;
  readonly id?: string;
}): Promise<Repository> {
  const { store, keyFile } = options;
  const copies = await findDescriptions(store);
  const [first] = copies;
  if (first === undefined) throw new RepositoryError('not-found', 'there is no repository here');
  const master = readKeyFile(keyFile);
  if (master === undefined) throw new RepositoryError('locked-out', `the key file ${keyFile} does not exist`);
  if (!copies.some(({ id }) => id === master.repositoryId)) throw foreignKey(keyFile, master, first.id);
  const description = copies.find(({ check, ...content }) => isSameMac(Buffer.from(check, 'hex'), checkOf(content, master.key)));
  if (description === undefined) throw new RepositoryError('locked-out', `the key in ${keyFile} does not open the repository ${first.id}`);
  if (options.id !== undefined && description.id !== options.id) {
    throw new RepositoryError('not-found', `the repository here is ${description.id}, not ${options.id}`);
  }
  if (description.chunkSizeBytes !== CHUNK_BYTES) {
    throw new RepositoryError('unsupported', `the repository has chunks of ${description.chunkSizeBytes} bytes`);
  }
  return repositoryOf(store, description.id, master.key);
}

function repositoryOf(store: ObjectStore, id: string, masterKey: Buffer): Repository {
  const findDomain = async (domain: string): Promise<DomainKeys | undefined> => {
    const name = objectNames.domainKeys(domain);
    const bytes = await readSmallObject(store, name, DESCRIPTION_BYTES_MAX);
    return bytes === undefined ? undefined : unwrapDomain(bytes, { id, domain, masterKey });
  };
  return {
    id,
    store,
    findDomain,
    async createDomain(domain) {
      const known = await findDomain(domain);
      if (known !== undefined) return known;
      const name = objectNames.domainKeys(domain);
      await guarded(name, () => store.put(name, wrapNewDomain({ id, domain, masterKey })));
      // Another process may have been first: what counts is what the store holds now.
      const made = await findDomain(domain);
      if (made === undefined) throw new RepositoryError('missing', `the keys of domain ${domain} are gone again`, { objectName: name });
      return made;
    },
  };
}

interface DomainPlace {
  readonly id: string;
  readonly domain: string;
  readonly masterKey: Buffer;
}

const domainKeyFields = ['idKey', 'sealKey', 'macKey'] as const;

const wrappingOf = ({ id, domain, masterKey }: DomainPlace, field: string) => ({
  key: deriveKey(masterKey, `domain ${field}`, `${id}/${domain}`),
  bound: `${id}/${checkDomain(domain)}/${field}`,
});

function wrapNewDomain(place: DomainPlace): Buffer {
  const sealed = domainKeyFields.map((field) => {
    const { key, bound } = wrappingOf(place, field);
    return [field, seal(key, randomBytes(KEY_BYTES), bound).toString('base64')];
  });
  const content = { format: 'stillpoint-domain-keys', version: FORMAT_VERSION, domain: place.domain, ...Object.fromEntries(sealed) };
  return Buffer.from(`${JSON.stringify(content, null, 2)}\n`);
}

function unwrapDomain(bytes: Buffer, place: DomainPlace): DomainKeys {
  const name = objectNames.domainKeys(place.domain);
  const damaged = (): RepositoryError =>
    new RepositoryError('corrupted', `the keys of domain ${place.domain} are damaged (${name})`, { objectName: name });
  const content = parseJson(bytes);
  if (content?.format !== 'stillpoint-domain-keys') throw damaged();
  if (content.version !== FORMAT_VERSION) throw new RepositoryError('unsupported', `${name} has version ${content.version}`);
  const open = (field: (typeof domainKeyFields)[number]): Buffer => {
    const sealed = content[field];
    if (typeof sealed !== 'string') throw damaged();
    const { key, bound } = wrappingOf(place, field);
    const plain = unseal(key, Buffer.from(sealed, 'base64'), bound);
    if (plain?.length !== KEY_BYTES) throw damaged();
    return plain;
  };
  return { domain: place.domain, idKey: open('idKey'), sealKey: open('sealKey'), macKey: open('macKey') };
}

function describe(id: string, createdAt: string, masterKey: Buffer): Description {
  const content = { format: 'stillpoint-repository', version: FORMAT_VERSION, id, chunkSizeBytes: CHUNK_BYTES, createdAt } as const;
  return { ...content, check: checkOf(content, masterKey).toString('hex') };
}

function checkOf(description: Omit<Description, 'check'>, masterKey: Buffer): Buffer {
  const { format, version, id, chunkSizeBytes, createdAt } = description;
  return macOf(deriveKey(masterKey, 'repository check', id), JSON.stringify([format, version, id, chunkSizeBytes, createdAt]));
}

/** Writes whichever copy is not there. */
async function putDescription(store: ObjectStore, description: Description): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(description, null, 2)}\n`);
  for (const name of DESCRIPTION_NAMES) {
    await guarded(name, async () => {
      if ((await store.length(name)) === undefined) await store.put(name, bytes);
    });
  }
}

/** The copies that can be read; none when there is no repository. */
async function findDescriptions(store: ObjectStore): Promise<Description[]> {
  const copies: Description[] = [];
  let found = false;
  for (const name of DESCRIPTION_NAMES) {
    const bytes = await readSmallObject(store, name, DESCRIPTION_BYTES_MAX);
    if (bytes === undefined) continue;
    found = true;
    const description = parseDescription(bytes);
    if (description !== undefined) copies.push(description);
  }
  if (found && copies.length === 0)
    throw new RepositoryError('corrupted', 'no copy of repo.json is whole', { objectName: DESCRIPTION_NAMES[0] });
  return copies;
}

function parseDescription(bytes: Buffer): Description | undefined {
  const content = parseJson(bytes);
  if (content?.format !== 'stillpoint-repository') return undefined;
  const { version, id, chunkSizeBytes, createdAt, check } = content;
  if (typeof version === 'number' && version !== FORMAT_VERSION) {
    throw new RepositoryError('unsupported', `the repository has format version ${version}, this program reads ${FORMAT_VERSION}`);
  }
  if (version !== FORMAT_VERSION || typeof id !== 'string' || typeof createdAt !== 'string') return undefined;
  if (typeof chunkSizeBytes !== 'number' || typeof check !== 'string') return undefined;
  return { format: 'stillpoint-repository', version, id, chunkSizeBytes, createdAt, check };
}

function parseJson(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

const foreignKey = (path: string, master: MasterKey, id: string): RepositoryError =>
  new RepositoryError('locked-out', `the key in ${path} belongs to repository ${master.repositoryId}, not to ${id}`);
