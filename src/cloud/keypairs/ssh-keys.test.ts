import { createPublicKey } from 'node:crypto';
import { expect, it } from 'vitest';
import { importSshKey, makeSshKey } from './ssh-keys.ts';

const ed25519 = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKmvJRJcEwmD3NgHMpJ7RM9uiw9hQdm1i58nDgZ+9Uo7';

// As `ssh-keygen` wrote them and said their fingerprints.
it.each([
  [ed25519, '61:e1:55:bd:81:d4:f1:00:96:5c:37:ca:79:2a:d4:56'],
  [`${ed25519} ada@example\n`, '61:e1:55:bd:81:d4:f1:00:96:5c:37:ca:79:2a:d4:56'],
  [
    'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDKvliqlmZZNMXBSj+Y+PFdJ26qp9Mso8lhy+yGb9iHmuC7YcjP1Zznjrn0inxrEGOpTBk1MGk0f+dErWY9QDD+6VHQ7n6OILt4NtxpP418bNDXkwCsxsQoMiEhSyBbaF0B1DbNcl5vKi1vdMt/Ov9OeyxBxF9uyko4GNOUzG/9mP8GHJmloj++2OLqJ0KJKMg9RAlxe8iRoLouGBhGuW3lbyyuhbsyyZ2W9XTB+wcoOpb8pY3JRuQPSO4IZ4xMtSAifhpZ1JrdNOac0XK/6mdfTqEyaTH19NnZjm0hk4H1o2bFmnlaAiSXNB88ULEdFwTksz0GHLe170k99+a2x0q1 ada@example',
    '4f:11:8c:21:06:8f:06:71:e0:cc:a2:fa:da:17:95:6d',
  ],
  [
    'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMiE1MlW+b/6krRGWvdGK4qWoFk65tgoIc6GuTyeWNq5ajmyTZ/g1G/5ApYNOidLz18/Z1H9CL+ffMfVNB3Zo60= ada@example',
    '71:51:11:32:c8:8a:af:69:26:9c:87:67:29:37:b3:6e',
  ],
  [
    'ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAEKjeFJyNfZlwcy5CuW45TSotTHMiDva51kUOk+XNQwuceVqJCDexM7A1FL0w386xfhIp/Ed6WnVIgAkOJsr36szAAfmP7CtcPdeK1ZV106DhMfVGRtnVAHAnTiKZVKb3GEDiu9+P1cfS3ca2LuBlrf0k4y+SBSUNjhSM2WOb1f63M9Zw== ada@example',
    'f5:c0:e9:99:9d:3a:62:dc:23:da:9e:d8:da:64:40:6d',
  ],
])('takes %s', (line, fingerprint) => {
  expect(importSshKey(line)).toEqual({ publicKey: line, fingerprint });
});

it.each([
  ['nothing', ''],
  ['a space', ' '],
  ['words', 'ssh-rsa JUNK nova@ubuntu'],
  ['zeros', `ssh-rsa ${'A'.repeat(2048)} openstack@ubuntu`],
  ['the name of another type', ed25519.replace('ssh-ed25519', 'ssh-rsa')],
  ['a type that there is not', ed25519.replace('ssh-ed25519', 'constructor')],
  ['half a key', ed25519.slice(0, -8)],
  [
    'more than a key',
    `${ed25519.split(' ')[0]} ${Buffer.concat([Buffer.from(ed25519.split(' ')[1] ?? '', 'base64'), Buffer.alloc(4)]).toString('base64')}`,
  ],
  ['letters that are no base64', ed25519.replace('AAAA', 'AA~A')],
  ['two lines', `${ed25519}\n${ed25519}`],
  ['options in front', `command="x" ${ed25519}`],
])('refuses %s', (_what, line) => {
  expect(() => importSshKey(line)).toThrow('Keypair data is invalid: failed to generate fingerprint');
});

it('makes both halves of a new one', async () => {
  const { publicKey, fingerprint, privateKey = '' } = await makeSshKey();
  expect(importSshKey(publicKey).fingerprint).toBe(fingerprint);
  expect(publicKey).toMatch(/^ssh-rsa \S+ Generated-by-Nova$/);
  expect(privateKey).toMatch(/^-----BEGIN RSA PRIVATE KEY-----/);
  const { n = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  const blob = Buffer.from(publicKey.split(' ')[1] ?? '', 'base64');
  expect(blob.subarray(-256)).toEqual(Buffer.from(n, 'base64url'));
});
