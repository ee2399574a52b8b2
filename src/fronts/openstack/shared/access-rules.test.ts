import { expect, it } from 'vitest';
import { isWithinRules } from './access-rules.ts';

const rule = (path: string, method = 'GET', service = 'compute') => ({ id: 'r', service, method, path });
const allowed = (rules: ReturnType<typeof rule>[], path: string, method = 'GET') =>
  isWithinRules(rules, { types: ['compute'], method, path });

it('lets through what one of the rules names, and nothing else', () => {
  const rules = [rule('/v2.1/servers/*/ips'), rule('/v2.1/servers', 'POST')];
  expect(allowed(rules, '/v2.1/servers/1/ips')).toBe(true);
  expect(allowed(rules, '/v2.1/servers/1/ips/')).toBe(true);
  expect(allowed(rules, '/v2.1/servers', 'POST')).toBe(true);
  expect(allowed(rules, '/v2.1/servers')).toBe(false);
  expect(allowed(rules, '/v2.1/servers/1/ips', 'DELETE')).toBe(false);
  expect(allowed(rules, '/v2.1/servers/1/2/ips')).toBe(false);
  expect(allowed([rule('/v2.1/servers', 'GET', 'image')], '/v2.1/servers')).toBe(false);
});

it('knows stars for one part, for a part of it, and for many', () => {
  expect(allowed([rule('/v2.1/{project}/servers/*')], '/v2.1/p/servers/1')).toBe(true);
  expect(allowed([rule('/v2.1/{project}/servers/*')], '/v2.1/p/servers')).toBe(false);
  expect(allowed([rule('/v2.1/os-*')], '/v2.1/os-hosts')).toBe(true);
  expect(allowed([rule('/v2.1/os-*')], '/v2.1/os-hosts/1')).toBe(false);
  expect(allowed([rule('/v2.1/**')], '/v2.1/a/b/c')).toBe(true);
  expect(allowed([rule('/**/ips')], '/v2.1/a/b/ips')).toBe(true);
  expect(allowed([rule('/**/ips')], '/v2.1/a/b/ip')).toBe(false);
});

it('takes no longer for patterns that are made to take long', () => {
  const started = performance.now();
  expect(allowed([rule(`/${'**/'.repeat(70)}x`)], `/${'a/'.repeat(900)}y`)).toBe(false);
  expect(allowed([rule(`/${'*a'.repeat(100)}b`)], `/${'a'.repeat(2000)}`)).toBe(false);
  expect(performance.now() - started).toBeLessThan(2_000);
});
