import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

/** The habits of this code base that no linter knows. Each failure names the file and the line, and says what to do instead. */

const root = join(import.meta.dirname, '..');
const fileLinesMax = 400;
/** Tests of one subject are a list, not a thought: they may be longer. */
const testFileLinesMax = 600;
const functionLinesMax = 70;

interface Source {
  readonly path: string;
  readonly lines: readonly string[];
}

const isSource = (path: string) => /\.(?:ts|mjs)$/.test(path);
const isTest = (path: string) => /\.test\.ts$|(?:^|[/-])contract-suite(?:\/[^/]+)?\.ts$/.test(path) || path.startsWith('test/');

function filesBelow(folder: string): string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}

const read = (path: string): Source => ({ path, lines: readFileSync(join(root, path), 'utf8').split('\n') });
const sources = ['src', 'test', 'bench', 'setup'].flatMap(filesBelow).filter(isSource).map(read);
const documents = [
  ...filesBelow('docs'),
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...filesBelow('migrations'),
  'bin/stillpoint',
  '.ci/run',
].map(read);

interface Rule {
  readonly pattern: RegExp;
  readonly remedy: string;
  readonly where: (path: string) => boolean;
}

/** `path:line` of every line that the rule forbids. */
function offences(rule: Rule, files: readonly Source[] = sources): string[] {
  return files.flatMap(({ path, lines }) => {
    if (!rule.where(path)) return [];
    return lines.flatMap((line, index) => (rule.pattern.test(line) ? [`${path}:${index + 1}: ${rule.remedy}`] : []));
  });
}

// The patterns are put together from halves, or this file would break its own rules.
const rules: Readonly<Record<string, Rule>> = {
  'prints through a logger, the command line or the composition root only': {
    pattern: /\bconsole\.\w/,
    remedy: 'take a Log',
    where: (path) => path.startsWith('src/') && !path.startsWith('src/main/') && !isTest(path),
  },
  'reads the environment in the composition root only': {
    pattern: /\bprocess\.env\b/,
    remedy: 'take the value as a parameter; src/main/config.ts reads it',
    where: (path) => path.startsWith('src/') && !path.startsWith('src/main/') && !isTest(path),
  },
  'reads the wall clock in one place only': {
    pattern: /\bDate\.now\(|\bnew Date\(\)/,
    remedy: 'take a Clock (src/lib/clock.ts); durations are measured with performance.now()',
    where: (path) => path.startsWith('src/') && path !== 'src/lib/clock.ts' && !path.startsWith('src/main/') && !isTest(path),
  },
  'has no skipped or focused tests': {
    pattern: /\b(?:describe|it|test)(?:\.\w+)*\.(?:only|skip|todo)\b/,
    remedy: 'make it pass or remove it',
    where: isTest,
  },
  'names no folder of one particular machine': {
    pattern: /(?<![\w.])\/(?:work|root|Users)\/\w|\/home\/(?!ada\b)\w/,
    remedy: 'derive the path, or take it as a parameter',
    where: () => true,
  },
  'leaves nothing for later': {
    pattern: new RegExp(`\\b(?:${['TO', 'FIX', 'XX'].map((half, index) => half + ['DO', 'ME', 'X'][index]).join('|')})\\b`),
    remedy: 'do it, or write an issue',
    where: () => true,
  },
};

describe('the source code', () => {
  it.each(Object.entries(rules))('%s', (_name, rule) => {
    expect([...offences(rule), ...offences(rule, documents)]).toEqual([]);
  });

  it(`has no file of more than ${fileLinesMax} lines`, () => {
    const long = sources.filter(
      ({ path, lines }) => path !== 'src/cloud/database/schema.ts' && lines.length > (isTest(path) ? testFileLinesMax : fileLinesMax),
    );
    expect(long.map(({ path, lines }) => `${path}: ${lines.length} lines; which second question does it answer?`)).toEqual([]);
  });

  it(`has no function of more than ${functionLinesMax} lines`, () => {
    expect(sources.filter(({ path }) => !isTest(path)).flatMap(longFunctions)).toEqual([]);
  });

  it('names files in kebab-case', () => {
    const odd = sources.filter(({ path }) => !/^[a-z0-9]+(?:[-.][a-z0-9]+)*$/.test(path.slice(path.lastIndexOf('/') + 1)));
    expect(odd.map(({ path }) => path)).toEqual([]);
  });

  it('has the import ending that Node needs', () => {
    const bare = { pattern: /\bfrom '\.{1,2}\/[^']*(?<!\.(?:ts|mjs|json))'/, remedy: 'write the file name with .ts', where: () => true };
    expect(offences(bare)).toEqual([]);
  });
});

/**
 * Functions that the formatter's indentation shows: from a line that opens a body to the line that closes it at the same depth. A factory
 * whose body is a list of closures counts by its closures, as a class would.
 */
function longFunctions({ path, lines }: Source): string[] {
  return lines.flatMap((line, start) => {
    const opening =
      /^(\s*)(?:export )?(?:async )?(?:function\*? (\w+).*|(?:const )?(\w+) = (?:async )?(?:<[^>]*>)?\([^)]*\).*=> |(?:async )?(\w+)\([^)]*\).*)\{$/.exec(
        line,
      );
    if (opening === null || /^\s*(?:if|for|while|switch|catch|return)\b/.test(line)) return [];
    const indent = opening[1] ?? '';
    const length = lines.slice(start + 1).findIndex((other) => other.startsWith(`${indent}}`)) + 1;
    const name = opening[2] ?? opening[3] ?? opening[4] ?? '';
    // Lists of routes: each is a function of its own.
    if (/^register\w*Routes$/.test(name)) return [];
    if (length <= functionLinesMax || isFactory(lines.slice(start + 1, start + length), indent)) return [];
    return [`${path}:${start + 1}: ${name} has ${length} lines`];
  });
}

/** It ends by returning what its closures are called by. */
const isFactory = (body: readonly string[], indent: string): boolean =>
  body.some(
    (line) =>
      line.startsWith(`${indent}  return {`) || /^return (?:async )?(?:function\b|\(.*=>|\w+ =>)/.test(line.slice(indent.length + 2)),
  );

it('would see a function that is too long, in each way to write one', () => {
  const body = Array.from({ length: functionLinesMax }, () => '    step();');
  for (const opening of [
    '  async function long(a: string): Promise<void> {',
    '  const long = async (a: string) => {',
    '  async long(a) {',
  ]) {
    expect(longFunctions({ path: 'x.ts', lines: [opening, ...body, '  }'] })).toEqual([`x.ts:1: long has ${functionLinesMax + 1} lines`]);
    expect(longFunctions({ path: 'x.ts', lines: [opening, ...body.slice(1), '  }'] })).toEqual([]);
  }
});

describe('the house', () => {
  it('has no addresses of registries in its lock file', () => {
    expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toMatch(/"resolved"|https?:\/\/registry/);
  });

  it('names a build for every platform in its lock file, or npm ci refuses it', () => {
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { optionalDependencies?: Record<string, string> }>;
    };
    const missing = Object.entries(packages).flatMap(([path, { optionalDependencies }]) =>
      Object.keys(optionalDependencies ?? {}).filter(
        (name) => !(`node_modules/${name}` in packages || `${path}/node_modules/${name}` in packages),
      ),
    );
    expect(missing, 'run: npm run lock').toEqual([]);
  });

  it('pins every package to one version', () => {
    const { dependencies, devDependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const loose = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }).filter(
      ([, version]) => !/^\d/.test(String(version)),
    );
    expect(loose).toEqual([]);
  });

  it('numbers its decisions, one file to a number', () => {
    const names = readdirSync(join(root, 'docs/decisions')).filter((name) => name !== 'README.md');
    expect(names.filter((name) => !/^\d{4}-[a-z0-9-]+\.md$/.test(name))).toEqual([]);
    const numbers = names.map((name) => name.slice(0, 4));
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  it('numbers its migrations one after the other', () => {
    const names = readdirSync(join(root, 'migrations')).sort();
    expect(names.map((name) => Number(/^(\d{4})-[a-z0-9-]+\.sql$/.exec(name)?.[1]))).toEqual(names.map((_, index) => index + 1));
  });
});
