/** Certificates that log users into Windows guests (WinRM): self-signed, for the client's side, with the user's name in two places. */
import { generateKeyPair, randomBytes, sign, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import type { KeyMaterial } from './contract.ts';
import { bits, integer, nothing, objectId, octets, sequence, set, tagged, time, utf8 } from './der.ts';
import { noCertificate } from './refusals.ts';

const generate = promisify(generateKeyPair);
const rsaBits = 2048;
const dayMs = 86_400_000;
const validDays = 3650;

const sha256WithRsa = sequence(objectId('1.2.840.113549.1.1.11'), nothing());
const commonName = objectId('2.5.4.3');
const extendedKeyUsage = objectId('2.5.29.37');
const clientAuthentication = objectId('1.3.6.1.5.5.7.3.2');
const alternativeName = objectId('2.5.29.17');
const userPrincipalName = objectId('1.3.6.1.4.1.311.20.2.3');

/** In PEM. 400 for anything else. */
export function importCertificate(text: string): KeyMaterial {
  try {
    return { publicKey: text, fingerprint: fingerprintOf(text) };
  } catch {
    throw noCertificate();
  }
}

const fingerprintOf = (pem: string): string => new X509Certificate(pem).fingerprint.toLowerCase();

export async function makeCertificate(userId: string, now: Date): Promise<KeyMaterial> {
  const { publicKey, privateKey } = await generate('rsa', { modulusLength: rsaBits });
  const name = sequence(set(sequence(commonName, utf8(userId))));
  const principal = tagged(0, userPrincipalName, tagged(0, utf8(`${userId}@localhost`)));
  const signed = sequence(
    tagged(0, integer(Buffer.from([2]))),
    integer(serialNumber()),
    sha256WithRsa,
    name,
    sequence(time(now), time(new Date(now.getTime() + validDays * dayMs))),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    tagged(3, sequence(extension(extendedKeyUsage, sequence(clientAuthentication)), extension(alternativeName, sequence(principal)))),
  );
  const certificate = sequence(signed, sha256WithRsa, bits(sign('sha256', signed, privateKey)));
  const pem = new X509Certificate(certificate).toString();
  return { publicKey: pem, fingerprint: fingerprintOf(pem), privateKey: String(privateKey.export({ type: 'pkcs8', format: 'pem' })) };
}

const extension = (id: Buffer, content: Buffer): Buffer => sequence(id, octets(content));

/** Positive, and never with zeros in front. */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}
