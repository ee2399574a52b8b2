import { createPrivateKey, X509Certificate } from 'node:crypto';
import { expect, it } from 'vitest';
import { importCertificate, makeCertificate } from './certificates.ts';

const made = await makeCertificate('0123456789abcdef', new Date('2026-03-01T12:00:00Z'));

it('makes a certificate for the client side of one user, and its key', () => {
  const certificate = new X509Certificate(made.publicKey);
  expect(certificate.subject).toBe('CN=0123456789abcdef');
  expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
  expect(certificate.subjectAltName).toContain('othername');
  expect([certificate.validFrom, certificate.validTo]).toEqual(['Mar  1 12:00:00 2026 GMT', 'Feb 27 12:00:00 2036 GMT']);
  expect(certificate.verify(certificate.publicKey)).toBe(true);
  expect(certificate.checkPrivateKey(createPrivateKey(made.privateKey ?? ''))).toBe(true);
});

it('writes years beyond 2049 in full', async () => {
  const late = await makeCertificate('ada', new Date('2045-06-01T00:00:00Z'));
  expect(new X509Certificate(late.publicKey).validTo).toMatch(/2055 GMT$/);
});

it('takes certificates, and nothing else', () => {
  expect(importCertificate(made.publicKey)).toEqual({ publicKey: made.publicKey, fingerprint: made.fingerprint });
  expect(made.fingerprint).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){19}$/);
  for (const text of ['', 'x', made.privateKey ?? '', made.publicKey.replace('MII', 'XII')]) {
    expect(() => importCertificate(text)).toThrow('Keypair data is invalid: failed to generate X509 fingerprint');
  }
});
