/** The tests that are not run: `exclusions.txt`, a regular expression and its reason per line. */
import { readFileSync } from 'node:fs';

export interface Exclusion {
  readonly pattern: RegExp;
  readonly reason: string;
}

export function readExclusions(path: string): Exclusion[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.flatMap((line) => {
    if (line.trim() === '' || line.startsWith('# ')) return [];
    const [, pattern = '', reason] = /^(\S+)\s+# (.+)$/.exec(line) ?? [];
    if (reason === undefined) throw new Error(`${path}: an exclusion needs a reason behind '# ': ${line}`);
    return [{ pattern: new RegExp(pattern), reason }];
  });
}

/** Exclusions that no test matches any more. */
export const staleExclusions = (exclusions: readonly Exclusion[], tests: readonly string[]): Exclusion[] =>
  exclusions.filter(({ pattern }) => !tests.some((test) => pattern.test(test)));
