import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Asker, askers, filledIn, placeholdersOf, type Row, readMatrix } from '../policy/matrix.ts';
import { type Need, thingsOf } from '../policy/things.ts';
import { makeWorld, type World } from '../policy/world.ts';
import { makeStateDir, removeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';

/**
 * Every request of the matrix, by everybody. Who may do something gets things of their own for it, so that what one asker deletes is there
 * for the next. Who only looks, or is refused, shares.
 */
let stateDir: string;
let service: ServiceUnderTest;
let world: World;
let shared: Need;

beforeAll(async () => {
  stateDir = await makeStateDir();
  service = await startServiceUnderTest(stateDir);
  world = await makeWorld(service);
  shared = thingsOf(world);
  const { admin, member, other } = world.sessions;
  const unlimited = { volumes: -1, snapshots: -1, gigabytes: -1, backups: -1, backup_gigabytes: -1, groups: -1 };
  for (const { projectId } of [admin, member, other]) {
    await world.must(admin, 'PUT', `/volume/v3/os-quota-sets/${projectId}`, { quota_set: unlimited });
    await world.must(admin, 'PUT', `/compute/v2.1/os-quota-sets/${projectId}`, { quota_set: { server_groups: -1, key_pairs: -1 } });
  }
});
afterAll(async () => {
  await service?.stop();
  await removeStateDir(stateDir);
});

const rows = readMatrix();
const files = [...new Set(rows.map(({ place }) => place.split(':')[0] ?? ''))];

it.each(files)('lets nobody do more or less than %s says', async (file) => {
  const wrong: string[] = [];
  for (const row of rows.filter(({ place }) => place.startsWith(`${file}:`))) {
    for (const asker of askers) wrong.push(...(await deviations(row, asker)));
  }
  expect(wrong).toEqual([]);
});

/** What lists of the first project show. */
const ownThings = [
  'volume',
  'snapshot',
  'backup',
  'attachment',
  'transfer',
  'volume-group',
  'group-snapshot',
  'message',
  'own-type',
  'private-flavor',
  'server-group',
  'image',
  'private-image',
  'private-namespace',
  'credential',
  'community-image',
  'server',
];

it('shows a member of another project nothing of the first in any list', { timeout: 5 * 60_000 }, async () => {
  const ids = new Map<string, string>();
  for (const name of ownThings) ids.set(await shared(name), name);
  const lists = rows.filter((row) => row.method === 'GET' && row.cells.other === 'ok' && placeholdersOf(row).length === 0);
  const seen = { member: new Set<string>(), other: new Set<string>(), admin: new Set<string>() };
  for (const { path } of lists) {
    const whole = `${path}${path.includes('?') ? '&' : '?'}limit=1000`;
    for (const asked of [whole, `${whole}&all_tenants=1`]) {
      for (const asker of ['member', 'other', 'admin'] as const) {
        const { text } = await world.send(world.sessions[asker].token, 'GET', asked);
        for (const [id, name] of ids) if (text.includes(id)) seen[asker].add(asker === 'other' ? `${name} in ${asked}` : name);
      }
    }
  }
  expect([...seen.other]).toEqual([]);
  expect([...seen.member].sort()).toEqual([...ownThings].sort());
  // Only lists that ask for the images of the community show those of others.
  expect(ownThings.filter((name) => !seen.admin.has(name))).toEqual(['community-image']);
});

const refusals: readonly number[] = [401, 403, 404];

async function deviations(row: Row, asker: Asker): Promise<string[]> {
  const expected = row.cells[asker];
  const changes = expected === 'ok' && row.method !== 'GET';
  const found: string[] = [];
  // A token that nobody issued is as good as none.
  for (const token of asker === 'nobody' ? [undefined, 'unknown'] : [world.sessions[asker].token]) {
    const { status, text } = await ask(row, token, changes ? thingsOf(world) : shared);
    const isRight = expected === 'ok' ? !refusals.includes(status) && status < 500 : status === Number(expected);
    if (!isRight) found.push(`${row.place} ${row.method} ${row.path}: ${asker} got ${status}, not ${expected}: ${text.slice(0, 300)}`);
  }
  return found;
}

async function ask(row: Row, token: string | undefined, need: Need) {
  const values = new Map<string, string>();
  for (const name of placeholdersOf(row)) values.set(name, await need(name));
  const headers = Object.fromEntries(Object.entries(row.headers).map(([name, value]) => [name, filledIn(value, values)]));
  const body = row.body === undefined ? undefined : filledIn(row.body, values);
  return await world.send(token, row.method, filledIn(row.path, values), body, headers);
}
