/**
 * `npm run conformance`: OpenStack's own tests, unmodified, against the real service. Debian's Tempest with the plugin of Block Storage; two workers.
 *
 *   --regex R   only the tests that match
 *   --serial    one worker
 *   --keep      leaves Tempest's folder with its log behind
 *
 * Every test of the four APIs is run unless `exclusions.txt` names it with a reason, or Tempest skips it for a feature that the configuration says is
 * not there. In a whole run, an exclusion that matches no test fails it, too. The last line is `N passed, N failed, N skipped`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parse } from 'yaml';
import { signIn } from '../support/api.ts';
import { makeFlavor, uploadGuest } from '../support/servers.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';
import { configurationOf, type Subject } from './configuration.ts';
import { readExclusions, staleExclusions } from './exclusions.ts';
import { createTempest } from './tempest.ts';

const everything = '^(tempest\\.api\\.(volume|image|identity|compute)\\.|cinder_tempest_plugin\\.)';

const { values } = parseArgs({
  options: {
    regex: { type: 'string', default: everything },
    serial: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'stillpoint-tempest-'));
  const stateDir = await makeStateDir();
  const service = await startServiceUnderTest(stateDir);
  try {
    mkdirSync(join(folder, 'locks'));
    const configuration = join(folder, 'tempest.conf');
    writeFileSync(configuration, configurationOf(await prepareSubject(service), folder), { mode: 0o600 });
    const tempest = createTempest({ folder, configuration });
    const exclusions = readExclusions(join(import.meta.dirname, 'exclusions.txt'));
    const stale = values.regex === everything ? staleExclusions(exclusions, await tempest.list(everything)) : [];
    for (const { pattern } of stale) process.stdout.write(`An exclusion matches no test: ${pattern.source}\n`);
    const excluded = exclusions.map(({ pattern }) => pattern.source);
    const counts = await tempest.run({ regex: values.regex, excluded, workers: values.serial ? 1 : 2 });
    const problems = service.log().split('\n').filter(tellsOfADefect);
    if (problems.length > 0)
      process.stdout.write(`The service's log tells of ${problems.length} defects:\n${problems.slice(0, 20).join('\n')}\n`);
    const failed = counts.failed + stale.length + (problems.length > 0 ? 1 : 0);
    process.stdout.write(`${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped\n`);
    return failed > 0 || counts.passed === 0 ? 1 : 0;
  } finally {
    await service.stop();
    await removeStateDir(stateDir);
    if (values.keep) process.stdout.write(`Kept: ${folder}\n`);
    else rmSync(folder, { recursive: true, force: true });
  }
}

/** An answer 500 is a defect, whatever the test made of it. */
const tellsOfADefect = (line: string): boolean => line.includes('"level":"error"') || line.includes('"level":50');

async function prepareSubject(service: ServiceUnderTest): Promise<Subject> {
  const { auth, region_name: region } = parse(await readFile(join(service.stateDir, 'clouds.yaml'), 'utf8')).clouds.stillpoint;
  const api = await signIn(service);
  const imageIds: string[] = [];
  const guest = await uploadGuest(api, { visibility: 'public' });
  for (const name of ['conformance', 'conformance-alt']) imageIds.push(await guest.diskImage({}, { name }));
  return {
    identityUrl: `${service.url}/identity/v3`,
    region,
    admin: { username: auth.username, password: auth.password, projectName: auth.project_name },
    imageIds: [imageIds[0] as string, imageIds[1] as string],
    flavorIds: [await makeFlavor(api), await makeFlavor(api, { ram: 288 })],
  };
}

process.exitCode = await main();
