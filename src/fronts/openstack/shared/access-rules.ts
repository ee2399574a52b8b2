/** Whether an application credential's rules let it do what a request asks for. */
import type { AccessRule } from '../../../cloud/identity/token.ts';

export interface AskedFor {
  /** The types of the service that answers. */
  readonly types: readonly string[];
  readonly method: string;
  /** As the service sees it, from its version on. */
  readonly path: string;
}

export function isWithinRules(rules: readonly AccessRule[], { types, method, path }: AskedFor): boolean {
  const parts = partsOf(path);
  return rules.some((rule) => types.includes(rule.service) && rule.method === method && fits(parts, partsOf(rule.path), '**', partFits));
}

const partsOf = (path: string): string[] => path.replace(/\/+$/, '').split('/');

/** `*` and `{name}` stand for any text within one part. */
function partFits(part: string, pattern: string): boolean {
  const letters = [...pattern.replace(/\{[^{}/]*\}/g, '*')];
  return fits([...part], letters, '*', (one, other) => one === other);
}

/**
 * Whether the items follow the pattern, in which `any` stands for any number of them. Goes back to the last `any` only, so that no
 * pattern takes longer than its length times that of the items.
 */
function fits(
  items: readonly string[],
  pattern: readonly string[],
  any: string,
  same: (item: string, pattern: string) => boolean,
): boolean {
  let [item, at] = [0, 0];
  let back: { item: number; at: number } | undefined;
  while (item < items.length) {
    const wanted = pattern[at];
    if (wanted === any) {
      back = { item, at };
      at += 1;
    } else if (wanted !== undefined && same(items[item] ?? '', wanted)) {
      item += 1;
      at += 1;
    } else if (back !== undefined) {
      back.item += 1;
      item = back.item;
      at = back.at + 1;
    } else return false;
  }
  return pattern.slice(at).every((rest) => rest === any);
}
