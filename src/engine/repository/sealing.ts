/**
 * Authenticated encryption of small records with AES-256-GCM.
 *
 * Each purpose has a key of its own, derived from a longer-lived one with HMAC-SHA-256 over the purpose and the context, so that a
 * record moved to another place does not open. Nonces are random; the context makes nearly every key a key of a single record.
 */
import { createCipheriv, createDecipheriv, createHmac, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';

export const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
export const MAC_BYTES = 32;
export const CIPHER = 'aes-256-gcm';
/** What sealing adds to the length of a record. */
export const SEAL_OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES;

export function deriveKey(key: Uint8Array, purpose: string, context: Uint8Array | string): Buffer {
  return macOf(key, `stillpoint ${purpose}`, Uint8Array.of(0), context);
}

export function macOf(key: Uint8Array, ...parts: readonly (Uint8Array | string)[]): Buffer {
  const mac = createHmac('sha256', key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

export function isSameMac(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}

/** Nonce, ciphertext, tag. */
export function seal(key: Uint8Array | KeyObject, plain: Uint8Array, bound: Uint8Array | string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce);
  cipher.setAAD(bytesOf(bound));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Undefined when the record was not sealed with this key and this bound data, or was changed since. */
export function unseal(key: Uint8Array | KeyObject, sealed: Buffer, bound: Uint8Array | string): Buffer | undefined {
  if (sealed.length < SEAL_OVERHEAD_BYTES) return undefined;
  const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES));
  decipher.setAAD(bytesOf(bound));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return plain;
}

const bytesOf = (bound: Uint8Array | string): Uint8Array => (typeof bound === 'string' ? Buffer.from(bound, 'utf8') : bound);
