/**
 * The numbers and names of format version 0. `docs/repository-format.md` explains them; it and this file change together.
 */
export const FORMAT_VERSION = 0;

/** The grain of identity and change. */
export const CHUNK_BYTES = 64 * 1024;
export const ID_BYTES = 16;
/** Entries of a node of the disk map: chunks of a leaf, children of an inner node. */
export const FAN_OUT = 128;
/** The part of a disk that one leaf describes. */
export const LEAF_BYTES = FAN_OUT * CHUNK_BYTES;

export const FRAME_SLOTS_MAX = 4;
export const FRAME_BYTES_MAX = FRAME_SLOTS_MAX * CHUNK_BYTES;
/** A pack is ended once it is this long. */
export const PACK_TARGET_BYTES = 64 * 1024 * 1024;
/** Frame numbers are 16 bits wide. */
export const PACK_FRAMES_MAX = 0xffff;

export const DESCRIPTION_NAMES = ['repo.json', 'repo-copy.json'] as const;

const sessionPattern = /^[0-9a-f]{32}$/;
const domainPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const packPattern = /^([0-9a-f]{32})-([0-9a-f]{8})$/;

export function checkSession(session: string): string {
  if (!sessionPattern.test(session)) throw new TypeError(`not a session: ${JSON.stringify(session)}`);
  return session;
}

export function checkDomain(domain: string): string {
  if (!domainPattern.test(domain)) throw new TypeError(`not a domain: ${JSON.stringify(domain)}`);
  return domain;
}

/** `<session>-<sequence>`: who wrote a pack, and which of the session's packs it is. */
export type PackName = string;

export function packNameOf(session: string, sequence: number): PackName {
  return `${session}-${sequence.toString(16).padStart(8, '0')}`;
}

export function parsePackName(name: PackName): { readonly session: string; readonly sequence: number } {
  const match = packPattern.exec(name);
  if (match?.[1] === undefined || match[2] === undefined) throw new TypeError(`not a pack name: ${JSON.stringify(name)}`);
  return { session: match[1], sequence: Number.parseInt(match[2], 16) };
}

/** The 20 bytes that stand for a pack's name inside of objects. */
export const PACK_NAME_BYTES = 20;

export function encodePackName(name: PackName): Buffer {
  const { session, sequence } = parsePackName(name);
  const bytes = Buffer.alloc(PACK_NAME_BYTES);
  bytes.write(session, 'hex');
  bytes.writeUInt32LE(sequence, 16);
  return bytes;
}

export function decodePackName(bytes: Buffer, at = 0): PackName {
  return packNameOf(bytes.toString('hex', at, at + 16), bytes.readUInt32LE(at + 16));
}

/** Objects are spread over 256 folders by the first byte of their session. */
const spread = (session: string): string => session.slice(0, 2);

export const objectNames = {
  pack: (name: PackName): string => `p/${spread(name)}/${name}`,
  packsOf: (session: string): string => `p/${spread(session)}/${checkSession(session)}-`,
  commit: (session: string): string => `c/${spread(session)}/${checkSession(session)}`,
  commits: 'c/',
  tombstone: (session: string): string => `d/${spread(session)}/${checkSession(session)}`,
  domainKeys: (domain: string): string => `k/${checkDomain(domain)}`,
};
