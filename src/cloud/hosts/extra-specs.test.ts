import { expect, it } from 'vitest';
import { satisfies } from './extra-specs.ts';

const backend = { volume_backend_name: 'disks', vendor_name: 'Still Point', free_capacity_gb: 90.5, multiattach: false };
const fits = (key: string, requirement: string): boolean => satisfies(backend, { [key]: requirement });

it('takes any backend for a type that asks for nothing', () => expect(satisfies(backend, {})).toBe(true));

it.each([
  ['volume_backend_name', 'disks'],
  ['vendor_name', 'Still Point'],
  ['capabilities:volume_backend_name', 'disks'],
  ['volume_backend_name', '<in> isk'],
  ['volume_backend_name', '<or> tapes <or> disks'],
  ['volume_backend_name', 's== disks'],
  ['free_capacity_gb', '>= 90'],
  ['free_capacity_gb', '= 90'],
  ['multiattach', '<is> False'],
  ['multiattach', 'false'],
  ['otherdriver:volume_backend_name', 'tapes'],
])('%s: %s is met', (key, requirement) => expect(fits(key, requirement)).toBe(true));

it.each([
  ['volume_backend_name', 'tapes'],
  ['volume_backend_name', ''],
  ['no_such_capability', 'disks'],
  ['toString', '<in> f'],
  ['capabilities:no_such', 'x'],
  ['volume_backend_name', '<or> tapes <or> cards'],
  ['volume_backend_name', '>= 3'],
  ['free_capacity_gb', '>='],
  ['free_capacity_gb', '<= 90'],
  ['multiattach', '<is> True'],
])('%s: %s is not met', (key, requirement) => expect(fits(key, requirement)).toBe(false));

it('asks for all of the specs together', () => {
  expect(satisfies(backend, { volume_backend_name: 'disks', vendor_name: 'Other' })).toBe(false);
});
