import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { directoryRules } from '../src/cloud/identity/directory-policy.ts';
import { rules } from '../src/cloud/identity/policy.ts';

/** Who may do what stands in two tables, and in nothing else. */
const root = join(import.meta.dirname, '..');
const tables = ['policy.ts', 'directory-policy.ts'].map((name) => `src/cloud/identity/${name}`);

const sources = readdirSync(join(root, 'src'), { withFileTypes: true, recursive: true })
  .filter((entry) => entry.isFile() && /(?<!\.test)\.ts$/.test(entry.name))
  .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

const mentions = (word: string, apart: readonly string[]): boolean =>
  sources.some(({ path, text }) => !apart.includes(path) && text.includes(`'${word}'`));

describe('the tables of rules', () => {
  it('have no action that nothing asks for', () => {
    // There each action of images has the name that goes into refusals.
    const apart = [...tables, 'src/cloud/images/access.ts'];
    const asked = (action: string): boolean => mentions(action, apart) || (action.startsWith('image:') && isAskedInImages(action));
    expect(Object.keys(rules).filter((action) => !asked(action))).toEqual([]);
  });

  it('of Identity has no action that nothing asks for', () => {
    // Kinds of records ask for `get_<noun>` and so on.
    const nouns = sources.flatMap(({ text }) => [...text.matchAll(/\bnoun: '(\w+)'/g)].map(([, noun]) => noun));
    const verbs = ['get', 'create', 'update', 'delete'];
    const ofRecords = verbs.flatMap((verb) => nouns.map((noun) => `${verb}_${noun}`));
    const unused = Object.keys(directoryRules).filter((action) => !ofRecords.includes(action) && !mentions(action, tables));
    expect(unused).toEqual([]);
  });

  it('are the only places where a role is asked for', () => {
    const apart = [...tables, 'src/cloud/identity/token.ts'];
    const asking = /\b(?:caller|asker)\.isAdmin\b|\.roles\.(?:includes|some)\(|=== 'admin'/;
    const lines = sources.flatMap(({ path, text }) =>
      apart.includes(path) ? [] : text.split('\n').flatMap((line, at) => (asking.test(line) ? [`${path}:${at + 1}: ${line.trim()}`] : [])),
    );
    expect(lines, 'add an action to the table and ask for that').toEqual([]);
  });
});

/** The list of wire names names it once; whoever asks for it does so again. */
function isAskedInImages(action: string): boolean {
  const { text = '' } = sources.find(({ path }) => path === 'src/cloud/images/access.ts') ?? {};
  return text.split(`'${action}'`).length > 2;
}

describe('docs/policy.md', () => {
  const lines = readFileSync(join(root, 'docs/policy.md'), 'utf8').split('\n');

  it('tells the rules of what projects own', () => {
    expect(lines.filter((line) => line.startsWith('| `'))).toEqual(ownershipRows());
  });

  it('tells the rules of Identity', () => {
    for (const kind of ['anyone', 'self', 'own', 'inside', 'reader', 'admin']) {
      const actions = Object.entries(directoryRules).flatMap(([action, rule]) => (rule === kind ? [`\`${action}\``] : []));
      expect(lines).toContain(`| ${kind} | ${actions.join(', ')} |`);
    }
  });
});

/** A line for each resource: what readers, members and admins may do with it beside what those before them may. */
function ownershipRows(): string[] {
  const resources = [...new Set(Object.keys(rules).map((action) => action.split(':')[0] ?? ''))];
  const cell = (resource: string, column: string): string =>
    Object.entries(rules)
      .flatMap(([action, rule]) => (rule === column && action.startsWith(`${resource}:`) ? [action.slice(resource.length + 1)] : []))
      .join(', ');
  return resources.map(
    (resource) => `| \`${resource}\` | ${['reader', 'member', 'admin'].map((column) => cell(resource, column)).join(' | ')} |`,
  );
}
