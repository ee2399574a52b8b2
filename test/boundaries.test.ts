import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

interface Report {
  readonly violations: readonly { readonly rule: string; readonly from: string; readonly to: string }[];
  readonly fileCount: number;
}

// Plain JavaScript, run by the check itself too; a literal path would need types of its own.
const checker: string = '../setup/boundaries.mjs';
const { checkBoundaries } = (await import(checker)) as { checkBoundaries(baseDir: string): Promise<Report> };

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillpoint-boundaries-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** The rules that a tree of files breaks: the names of the files and what each imports. */
async function brokenBy(files: Readonly<Record<string, readonly string[]>>): Promise<string[]> {
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  for (const [path, imports] of Object.entries(files)) {
    await mkdir(join(folder, 'src', dirname(path)), { recursive: true });
    const lines = imports.map((target, index) => `import { value as value${index} } from '${target}';`);
    await writeFile(join(folder, 'src', path), `${lines.join('\n')}\nexport const value: number = 1;\n`);
  }
  const { violations } = await checkBoundaries(folder);
  return [...new Set(violations.map(({ rule }) => rule))].sort();
}

it('accepts imports that point down and meet at services and contracts', async () => {
  const broken = await brokenBy({
    'main/cli.ts': ['../fronts/native/front.ts', '../engine/transfer/backup.ts'],
    'fronts/native/front.ts': ['../../cloud/backups/service.ts'],
    'cloud/backups/service.ts': ['./store.ts', '../volumes/service.ts', '../../engine/transfer/contract.ts'],
    'cloud/backups/store.ts': ['../database/service.ts'],
    'cloud/volumes/service.ts': ['../database/service.ts'],
    'cloud/database/service.ts': ['../../lib/clock.ts'],
    'engine/transfer/backup.ts': ['./contract.ts', '../repository/repository.ts'],
    'engine/transfer/contract.ts': ['../disk/contract.ts'],
    'engine/repository/repository.ts': ['../stores/contract.ts'],
    'engine/stores/contract.ts': ['../../lib/clock.ts'],
    'engine/disk/contract.ts': ['../../lib/clock.ts'],
    'lib/clock.ts': [],
  });
  expect(broken).toEqual([]);
});

it.each([
  ['lib-imports-downward-only', 'lib/a.ts', 'engine/disk/contract.ts'],
  ['engine-imports-downward-only', 'engine/disk/a.ts', 'cloud/volumes/service.ts'],
  ['cloud-imports-downward-only', 'cloud/volumes/a.ts', 'fronts/native/front.ts'],
  ['fronts-imports-downward-only', 'fronts/native/a.ts', 'main/config.ts'],
  ['engine-repository-knows-stores', 'engine/repository/a.ts', 'engine/disk/raw-layer.ts'],
  ['engine-disk-knows-no-neighbour', 'engine/disk/a.ts', 'engine/volumes/layered-files/b.ts'],
  ['cloud-disks-knows-earlier-folders-only', 'cloud/disks/a.ts', 'cloud/volumes/service.ts'],
  ['cloud-neighbours-meet-at-services', 'cloud/backups/a.ts', 'cloud/volumes/store.ts'],
  ['rows-and-jobs-stay-in-their-folder', 'fronts/openstack/a.ts', 'cloud/volumes/create.job.ts'],
  ['rows-and-jobs-stay-in-their-folder', 'fronts/openstack/a.ts', 'cloud/identity/token-store.ts'],
  ['fronts-do-not-know-disks', 'fronts/native/a.ts', 'engine/disk/contract.ts'],
  ['only-the-composition-root-knows-the-service', 'fronts/cli/a.ts', 'cloud/volumes/service.ts'],
])('%s: %s may not import %s', async (rule, from, to) => {
  const relative = `${'../'.repeat(from.split('/').length - 1)}${to}`;
  expect(await brokenBy({ [from]: [relative], [to]: [] })).toContain(rule);
});

it('sees imports of types', async () => {
  await brokenBy({ 'cloud/volumes/service.ts': [], 'lib/a.ts': [] });
  await writeFile(
    join(folder, 'src/lib/a.ts'),
    `import type { value } from '../cloud/volumes/service.ts';\nexport type A = typeof value;\n`,
  );
  const { violations } = await checkBoundaries(folder);
  expect(violations).toContainEqual({ rule: 'lib-imports-downward-only', from: 'src/lib/a.ts', to: 'src/cloud/volumes/service.ts' });
});

it('sees imports at run time', async () => {
  await brokenBy({ 'main/service.ts': [], 'fronts/cli/a.ts': [] });
  await writeFile(join(folder, 'src/fronts/cli/a.ts'), `export const a = async () => await import('../../main/service.ts');\n`);
  const { violations } = await checkBoundaries(folder);
  expect(violations.map(({ rule }) => rule)).toContain('fronts-imports-downward-only');
});

it('finds cycles, orphans and imports of nothing', async () => {
  expect(
    await brokenBy({ 'lib/a.ts': ['./b.ts'], 'lib/b.ts': ['./a.ts'], 'lib/alone.ts': [], 'lib/c.ts': ['./a.ts', './missing.ts'] }),
  ).toEqual(['no-cycles', 'no-orphans', 'nothing-unresolved']);
});
