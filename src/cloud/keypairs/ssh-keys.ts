/** Public keys as OpenSSH writes them: `ssh-rsa AAAA… comment`. */
import { createHash, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { KeyMaterial } from './contract.ts';
import { noSshKey } from './refusals.ts';

const generate = promisify(generateKeyPair);
const rsaBits = 2048;

/** What a key of each type is made of, behind the name of the type. A number is a length in bytes; `any` is a number of any length. */
type Part = number | 'any' | { readonly text: string };
const point = (bytes: number): number => 2 * bytes + 1;
const shapes: Readonly<Record<string, readonly Part[]>> = {
  'ssh-rsa': ['any', 'any'],
  'ssh-dss': ['any', 'any', 'any', 'any'],
  'ssh-ed25519': [32],
  'ecdsa-sha2-nistp256': [{ text: 'nistp256' }, point(32)],
  'ecdsa-sha2-nistp384': [{ text: 'nistp384' }, point(48)],
  'ecdsa-sha2-nistp521': [{ text: 'nistp521' }, point(66)],
};

/** Of one line; a line break may follow it. 400 for anything else. */
export function importSshKey(text: string): KeyMaterial {
  const line = text.trim();
  const [type = '', encoded = ''] = line.split(/[ \t]+/);
  const blob = Buffer.from(encoded, 'base64');
  if (/[\r\n]/.test(line) || blob.toString('base64') !== encoded || !isKey(type, blob)) throw noSshKey();
  return { publicKey: text, fingerprint: fingerprintOf(blob) };
}

function isKey(type: string, blob: Buffer): boolean {
  const shape = Object.hasOwn(shapes, type) ? shapes[type] : undefined;
  const fields = fieldsOf(blob);
  if (shape === undefined || fields === undefined || fields.length !== shape.length + 1) return false;
  return fields[0]?.toString('latin1') === type && shape.every((part, at) => fits(fields[at + 1] ?? Buffer.alloc(0), part));
}

function fits(field: Buffer, part: Part): boolean {
  if (typeof part === 'object') return field.toString('latin1') === part.text;
  return part === 'any' ? field.length > 0 : field.length === part;
}

/** Each field has its length in front. Undefined when the lengths do not add up. */
function fieldsOf(blob: Buffer): Buffer[] | undefined {
  const fields: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    if (at + 4 > blob.length) return undefined;
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return undefined;
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  return fields;
}

/** MD5, because that is what clients compare it with. */
function fingerprintOf(blob: Buffer): string {
  return (createHash('md5').update(blob).digest('hex').match(/../g) ?? []).join(':');
}

export async function makeSshKey(): Promise<KeyMaterial> {
  const { publicKey, privateKey } = await generate('rsa', { modulusLength: rsaBits });
  const blob = rsaBlob(publicKey);
  return {
    publicKey: `ssh-rsa ${blob.toString('base64')} Generated-by-Nova`,
    fingerprint: fingerprintOf(blob),
    privateKey: String(privateKey.export({ type: 'pkcs1', format: 'pem' })),
  };
}

function rsaBlob(key: KeyObject): Buffer {
  const { e = '', n = '' } = key.export({ format: 'jwk' });
  const numbers = [e, n].map((value) => positive(Buffer.from(value, 'base64url')));
  return Buffer.concat([Buffer.from('ssh-rsa'), ...numbers].flatMap((field) => [lengthOf(field), field]));
}

/** A first bit that is set would make it a negative number. */
const positive = (value: Buffer): Buffer => ((value[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), value]) : value);

function lengthOf(field: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(field.length);
  return length;
}
