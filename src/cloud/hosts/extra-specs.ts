/**
 * What a volume type asks of a backend: each extra spec is a requirement on the capability of its name, in the small language of Block
 * Storage (`<is> True`, `<in> text`, `<or> a <or> b`, `>= 3`, `s== text`; anything else is compared as it is). Scoped specs (`scope:name`)
 * are for drivers and say nothing here, but for the scope `capabilities`.
 */
import type { Capabilities, CapabilityValue, ExtraSpecs } from './contract.ts';

const truths = ['true', '1', 't', 'y', 'yes', 'on'];
const truthOf = (value: CapabilityValue): boolean => truths.includes(String(value).toLowerCase());

type Operator = (value: CapabilityValue, wanted: string) => boolean;

/** NaN compares as false with everything. */
const byNumber =
  (compare: (a: number, b: number) => boolean): Operator =>
  (value, wanted) =>
    compare(Number(value), Number(wanted));
const byText =
  (compare: (a: string, b: string) => boolean): Operator =>
  (value, wanted) =>
    compare(String(value), wanted);

const operators: Readonly<Record<string, Operator>> = {
  '=': byNumber((a, b) => a >= b),
  '==': byNumber((a, b) => a === b),
  '!=': byNumber((a, b) => !Number.isNaN(a) && !Number.isNaN(b) && a !== b),
  '>=': byNumber((a, b) => a >= b),
  '<=': byNumber((a, b) => a <= b),
  's==': byText((a, b) => a === b),
  's!=': byText((a, b) => a !== b),
  's<': byText((a, b) => a < b),
  's<=': byText((a, b) => a <= b),
  's>': byText((a, b) => a > b),
  's>=': byText((a, b) => a >= b),
  '<in>': byText((a, b) => a.includes(b)),
  '<is>': (value, wanted) => truthOf(value) === truthOf(wanted),
};

export function satisfies(capabilities: Capabilities, specs: ExtraSpecs): boolean {
  return Object.entries(specs).every(([key, requirement]) => {
    const name = capabilityOf(key);
    if (name === undefined) return true;
    const value = Object.hasOwn(capabilities, name) ? capabilities[name] : undefined;
    return value !== undefined && matches(value, requirement);
  });
}

function capabilityOf(key: string): string | undefined {
  if (!key.includes(':')) return key;
  return key.startsWith('capabilities:') ? key.slice('capabilities:'.length) : undefined;
}

function matches(value: CapabilityValue, requirement: string): boolean {
  const [word = '', ...rest] = requirement.split(/\s+/).filter((part) => part !== '');
  if (word === '<or>') return rest.filter((part) => part !== '<or>').includes(String(value));
  const operator = Object.hasOwn(operators, word) ? operators[word] : undefined;
  if (operator !== undefined) return rest[0] !== undefined && operator(value, rest[0]);
  return typeof value === 'boolean' ? truthOf(requirement) === value : String(value) === requirement;
}
