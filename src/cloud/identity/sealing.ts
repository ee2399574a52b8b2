/**
 * Secrets that users get back as they were (the keys of EC2 credentials, say): sealed with the key of the service, so that a copy of the
 * database alone opens nothing. A sealed secret is bound to the row that it stands in.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { unavailable } from '../../lib/errors.ts';

export interface Sealing {
  seal(rowId: string, secret: string): Buffer;
  open(rowId: string, sealed: Buffer): string;
}

const cipherName = 'aes-256-gcm';
export const sealingKeyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** Without a key nothing can be sealed, and the refusal says so. */
export function createSealing(key: Buffer | undefined): Sealing {
  const present = (): Buffer => {
    if (key === undefined) throw unavailable('This service has no key to keep secrets with.');
    if (key.length !== sealingKeyBytes) throw new Error(`the key for stored secrets has ${key.length} bytes instead of ${sealingKeyBytes}`);
    return key;
  };
  return {
    seal(rowId, secret) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv(cipherName, present(), nonce).setAAD(Buffer.from(rowId));
      const sealed = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
    },
    open(rowId, sealed) {
      const decipher = createDecipheriv(cipherName, present(), sealed.subarray(0, nonceBytes), { authTagLength: tagBytes })
        .setAAD(Buffer.from(rowId))
        .setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes));
      return Buffer.concat([decipher.update(sealed.subarray(nonceBytes + tagBytes)), decipher.final()]).toString('utf8');
    },
  };
}
