/** Volume types, and which one a volume gets, over their wire. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/lib/ids.ts';
import { type Person, startWire, type Wire, type WireAnswer } from '../support/block-storage-wire.ts';

let wire: Wire;
let admin: Person;
let ada: Person;

beforeAll(async () => {
  wire = await startWire();
  admin = wire.admin;
  ada = await wire.member('ada');
});
afterAll(() => wire.stop());

const as = (who: () => Person) => (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown, version?: string) =>
  wire.send(who(), method, path, body, version);
const operator = as(() => admin);
const user = as(() => ada);

let names = 0;
async function makeType(facts: object = {}): Promise<{ id: string; name: string }> {
  names += 1;
  const { status, body } = await operator('POST', '/types', { volume_type: { name: `type-${names}`, ...facts } });
  expect(status, JSON.stringify(body)).toBe(200);
  return body.volume_type;
}

async function makeVolume(facts: object = {}): Promise<string> {
  const { status, body } = await user('POST', '/volumes', { volume: { size: 1, ...facts } });
  expect(status, JSON.stringify(body)).toBe(202);
  return body.volume.id;
}

async function deleteVolume(id: string): Promise<void> {
  await wire.settled(ada, 'volumes', id);
  await user('DELETE', `/volumes/${id}`);
  expect(await wire.settled(ada, 'volumes', id)).toBe('gone');
}

const faultOf = ({ status, body }: WireAnswer): [number, string] => [status, (Object.values(body)[0] as { message: string }).message];
const namesOf = ({ body }: WireAnswer): string[] => body.volume_types.map(({ name }: { name: string }) => name);

describe('a type', () => {
  it('shows its extra specs to operators, and to users those that they choose by', async () => {
    const specs = { volume_backend_name: 'layered-files', 'RESKEY:availability_zones': 'nova' };
    const { id } = await makeType({ name: ' gold ', description: 'fast', extra_specs: specs });
    const shown = { id, name: 'gold', description: 'fast', is_public: true, 'os-volume-type-access:is_public': true };
    expect((await operator('GET', `/types/${id}`)).body.volume_type).toEqual({ ...shown, extra_specs: specs, qos_specs_id: null });
    expect((await user('GET', `/types/${id}`)).body.volume_type).toEqual({
      ...shown,
      extra_specs: { 'RESKEY:availability_zones': 'nova' },
    });
    expect((await user('GET', `/types/${id}/extra_specs/volume_backend_name`)).status).toBe(404);
  });

  it.each([
    ['an empty name', { name: ' ' }],
    ['no name', { description: 'x' }],
    ['a name that is too long', { name: 'x'.repeat(256) }],
    ['specs that are no texts', { name: 'n', extra_specs: { a: 1 } }],
    ['a key with a slash', { name: 'n', extra_specs: { 'a/b': '1' } }],
    ['something unknown', { name: 'n', colour: 'red' }],
    ['a strange visibility', { name: 'n', 'os-volume-type-access:is_public': 'perhaps' }],
  ])('is not made with %s', async (_what, facts) => {
    expect((await operator('POST', '/types', { volume_type: facts })).status).toBe(400);
  });

  it('has a name of its own, and changes at least one thing', async () => {
    const [one, two] = [await makeType(), await makeType()];
    expect(faultOf(await operator('POST', '/types', { volume_type: { name: one.name } }))).toEqual([
      409,
      `Volume Type ${one.name} already exists.`,
    ]);
    expect((await operator('PUT', `/types/${two.id}`, { volume_type: { name: one.name } })).status).toBe(409);
    expect((await operator('PUT', `/types/${two.id}`, { volume_type: {} })).status).toBe(400);
    expect((await operator('PUT', `/types/${two.id}`, { volume_type: { name: '' } })).status).toBe(400);
    const { body } = await operator('PUT', `/types/${two.id}`, { volume_type: { name: 'renamed', is_public: false } });
    expect(Object.keys(body.volume_type).sort()).toEqual(['description', 'extra_specs', 'id', 'is_public', 'name']);
    expect(body.volume_type).toMatchObject({ name: 'renamed', is_public: false });
  });

  it('is changed by operators only, and not there under a strange id', async () => {
    const { id } = await makeType();
    for (const [method, path, body] of [
      ['POST', '/types', { volume_type: { name: 'mine' } }],
      ['PUT', `/types/${id}`, { volume_type: { name: 'mine' } }],
      ['DELETE', `/types/${id}`, undefined],
      ['POST', `/types/${id}/extra_specs`, { extra_specs: {} }],
      ['GET', `/types/${id}/encryption`, undefined],
      ['GET', '/qos-specs', undefined],
    ] as const) {
      expect((await user(method, path, body)).status, path).toBe(403);
    }
    for (const strange of [newId(), 'no-id', "'"]) expect((await operator('GET', `/types/${strange}`)).status).toBe(404);
  });

  it('stays while a volume is of it, while it is a default, and while it is the built-in one', async () => {
    const { id, name } = await makeType();
    const volume = await makeVolume({ volume_type: name });
    expect((await operator('DELETE', `/types/${id}`)).status).toBe(400);
    expect((await operator('POST', `/types/${id}/extra_specs`, { extra_specs: { a: '1' } })).status).toBe(400);
    await deleteVolume(volume);
    expect((await operator('POST', `/types/${id}/extra_specs`, { extra_specs: { a: '1' } })).status).toBe(200);
    expect((await operator('DELETE', `/types/${id}`)).status).toBe(202);
    expect((await operator('GET', `/types/${id}`)).status).toBe(404);
    const { body } = await operator('GET', '/types/default');
    expect((await operator('DELETE', `/types/${body.volume_type.id}`)).status).toBe(400);
  });

  it('takes its quota along to a new name, and leaves none to a later type', async () => {
    const { id, name } = await makeType();
    const quota = async () => (await operator('GET', `/os-quota-sets/${ada.projectId}`)).body.quota_set;
    await operator('PUT', `/os-quota-sets/${ada.projectId}`, { quota_set: { [`volumes_${name}`]: 3 } });
    await operator('PUT', `/types/${id}`, { volume_type: { name: 'moved' } });
    expect(await quota()).toMatchObject({ volumes_moved: 3 });
    await operator('DELETE', `/types/${id}`);
    await makeType({ name: 'moved' });
    expect(await quota()).toMatchObject({ volumes_moved: -1 });
  });
});

describe('extra specs', () => {
  it('are merged, read and removed key by key', async () => {
    const { id } = await makeType({ extra_specs: { one: '1' } });
    const path = `/types/${id}/extra_specs`;
    expect((await operator('POST', path, { extra_specs: { two: '2' } })).body).toEqual({ extra_specs: { two: '2' } });
    expect((await operator('PUT', `${path}/one`, { one: 'I' })).body).toEqual({ one: 'I' });
    expect((await operator('GET', path)).body).toEqual({ extra_specs: { one: 'I', two: '2' } });
    expect(faultOf(await operator('PUT', `${path}/one`, { two: '2' }))).toEqual([400, 'Request body and URI mismatch']);
    expect(faultOf(await operator('PUT', `${path}/one`, { one: '1', two: '2' }))).toEqual([400, 'Request body contains too many items']);
    expect((await operator('PUT', `${path}/one`, null)).status).toBe(400);
    expect((await operator('DELETE', `${path}/one`)).status).toBe(202);
    expect(faultOf(await operator('DELETE', `${path}/one`))).toEqual([404, `Volume Type ${id} has no extra specs with key one.`]);
    expect((await operator('GET', `${path}/toString`)).status).toBe(404);
  });
});

describe('the list of types', () => {
  it('has what somebody may use; operators say which visibility they mean', async () => {
    const hidden = await makeType({ name: 'hidden', 'os-volume-type-access:is_public': false });
    expect(namesOf(await user('GET', '/types?is_public=None'))).not.toContain('hidden');
    expect(namesOf(await operator('GET', '/types'))).not.toContain('hidden');
    expect(namesOf(await operator('GET', '/types?is_public=None'))).toContain('hidden');
    expect(namesOf(await operator('GET', '/types?is_public=False&name=hidden'))).toEqual(['hidden']);
    expect((await operator('GET', '/types?is_public=perhaps')).status).toBe(400);
    await operator('POST', `/types/${hidden.id}/action`, { addProjectAccess: { project: ada.projectId } });
    expect(namesOf(await user('GET', '/types'))).toContain('hidden');
  });

  it('is sorted, cut into pages, and filtered by extra specs from 3.52 on', async () => {
    for (const tier of ['a', 'b', 'c']) await makeType({ name: `page-${tier}`, extra_specs: { paged: 'yes' } });
    const query = '/types?extra_specs={%27paged%27:%27yes%27}&sort=name:desc';
    expect(namesOf(await operator('GET', query, undefined, '3.52'))).toEqual(['page-c', 'page-b', 'page-a']);
    expect(namesOf(await operator('GET', query, undefined, '3.51')).length).toBeGreaterThan(3);
    const { body: first } = await operator('GET', `${query}&limit=2`, undefined, '3.52');
    expect(first.volume_type_links[0].href).toContain(`marker=${first.volume_types[1].id}`);
    expect(namesOf(await operator('GET', `${query}&limit=2&marker=${first.volume_types[1].id}`, undefined, '3.52'))).toEqual(['page-a']);
    expect((await operator('GET', '/types?sort=colour')).status).toBe(400);
    expect((await operator('GET', `/types?marker=${newId()}`)).status).toBe(404);
    expect(namesOf(await operator('GET', '/types?colour=red'))).toEqual([]);
    // What users may not see they cannot ask about.
    expect(namesOf(await user('GET', query, undefined, '3.52'))).toEqual([]);
  });
});

describe('access', () => {
  it('is given to projects, for types that are not public', async () => {
    const { id } = await makeType({ 'os-volume-type-access:is_public': false });
    const grant = { addProjectAccess: { project: ada.projectId } };
    expect(faultOf(await user('POST', '/volumes', { volume: { size: 1, volume_type: id } }))).toEqual([
      404,
      `Volume type ${id} could not be found.`,
    ]);
    expect((await operator('POST', `/types/${id}/action`, grant)).status).toBe(202);
    expect((await operator('POST', `/types/${id}/action`, grant)).status).toBe(409);
    expect((await operator('GET', `/types/${id}/os-volume-type-access`)).body).toEqual({
      volume_type_access: [{ volume_type_id: id, project_id: ada.projectId }],
    });
    await deleteVolume(await makeVolume({ volume_type: id }));
    const end = { removeProjectAccess: { project: ada.projectId } };
    expect((await operator('POST', `/types/${id}/action`, end)).status).toBe(202);
    expect((await operator('POST', `/types/${id}/action`, end)).status).toBe(404);
    const open = await makeType();
    expect((await operator('POST', `/types/${open.id}/action`, grant)).status).toBe(409);
    expect((await operator('GET', `/types/${open.id}/os-volume-type-access`)).status).toBe(404);
    expect((await operator('POST', `/types/${id}/action`, { openTheDoor: {} })).status).toBe(400);
  });
});

describe('encryption of a type', () => {
  const wanted = { provider: 'luks', control_location: 'front-end', cipher: 'aes-xts-plain64', key_size: 256 };

  it('is kept, changed and removed, once a type', async () => {
    const { id } = await makeType();
    const path = `/types/${id}/encryption`;
    expect((await operator('GET', path)).body).toEqual({});
    expect((await operator('POST', path, { encryption: { ...wanted, control_location: 'nowhere' } })).status).toBe(400);
    const { body } = await operator('POST', path, { encryption: wanted });
    expect(body.encryption).toMatchObject({ ...wanted, volume_type_id: id });
    expect((await operator('POST', path, { encryption: wanted })).status).toBe(400);
    expect((await operator('PUT', `${path}/provider`, { encryption: { key_size: 128 } })).body).toEqual({ encryption: { key_size: 128 } });
    expect((await operator('GET', `${path}/key_size`)).body).toEqual({ key_size: 128 });
    expect((await operator('GET', path)).body).toMatchObject({ key_size: 128, cipher: wanted.cipher, deleted: false });
    expect((await operator('DELETE', `${path}/${body.encryption.encryption_id}`)).status).toBe(202);
    expect((await operator('DELETE', `${path}/provider`)).status).toBe(404);
  });

  it('lets no volume be made: there is nobody to keep keys, and an open disk would be a lie', async () => {
    const { id } = await makeType();
    await operator('POST', `/types/${id}/encryption`, { encryption: wanted });
    expect(faultOf(await user('POST', '/volumes', { volume: { size: 1, volume_type: id } }))).toEqual([400, 'Key manager error']);
  });

  it('does not come to a type that volumes are of', async () => {
    const { id } = await makeType();
    const volume = await makeVolume({ volume_type: id });
    expect((await operator('POST', `/types/${id}/encryption`, { encryption: wanted })).status).toBe(400);
    await deleteVolume(volume);
  });
});

describe('QoS specs', () => {
  it('are made, merged, cut and removed', async () => {
    const { status, body } = await operator('POST', '/qos-specs', { qos_specs: { name: 'slow', iops: '10' } });
    expect([status, body.qos_specs]).toEqual([200, { id: body.qos_specs.id, name: 'slow', consumer: 'back-end', specs: { iops: '10' } }]);
    const path = `/qos-specs/${body.qos_specs.id}`;
    expect((await operator('POST', '/qos-specs', { qos_specs: { name: 'slow' } })).status).toBe(409);
    expect((await operator('POST', '/qos-specs', { qos_specs: { name: 'x', consumer: 'nobody' } })).status).toBe(400);
    expect((await operator('PUT', path, { qos_specs: { bps: '9', consumer: 'both' } })).body).toEqual({
      qos_specs: { bps: '9', consumer: 'both' },
    });
    expect((await operator('PUT', path, { qos_specs: {} })).status).toBe(400);
    expect((await operator('PUT', `${path}/delete_keys`, { keys: ['iops', 'nothing'] })).status).toBe(404);
    expect((await operator('PUT', `${path}/delete_keys`, { keys: ['iops'] })).status).toBe(202);
    expect((await operator('GET', path)).body.qos_specs).toMatchObject({ consumer: 'both', specs: { bps: '9' } });
    expect((await operator('GET', '/qos-specs')).body.qos_specs).toHaveLength(1);
    expect((await operator('DELETE', path)).status).toBe(202);
    expect((await operator('GET', path)).status).toBe(404);
  });

  it('belong to types, one a type, and leave with force only', async () => {
    const qos = async (name: string) => (await operator('POST', '/qos-specs', { qos_specs: { name } })).body.qos_specs.id;
    const [one, two] = [await qos('one'), await qos('two')];
    const type = await makeType();
    const associate = (id: string, verb: string) => operator('GET', `/qos-specs/${id}/${verb}?vol_type_id=${type.id}`);
    expect((await associate(one, 'associate')).status).toBe(202);
    expect((await associate(one, 'associate')).status).toBe(202);
    expect((await associate(two, 'associate')).status).toBe(400);
    expect((await operator('GET', `/qos-specs/${one}/associate`)).status).toBe(400);
    expect((await operator('GET', `/qos-specs/${one}/associate?vol_type_id=${newId()}`)).status).toBe(404);
    expect((await operator('GET', `/qos-specs/${one}/associations`)).body).toEqual({
      qos_associations: [{ association_type: 'volume_type', name: type.name, id: type.id }],
    });
    expect((await operator('GET', `/types/${type.id}`)).body.volume_type.qos_specs_id).toBe(one);
    expect((await operator('DELETE', `/qos-specs/${one}`)).status).toBe(400);
    expect((await associate(one, 'disassociate')).status).toBe(202);
    await associate(two, 'associate');
    expect((await operator('DELETE', `/qos-specs/${two}?force=True`)).status).toBe(202);
    expect((await operator('GET', `/types/${type.id}`)).body.volume_type.qos_specs_id).toBeNull();
  });
});

describe('the type of a volume that names none', () => {
  it("is the project's default, set from 3.62 on and outside of projects' paths", async () => {
    const { id, name } = await makeType();
    const path = `/default-types/${ada.projectId}`;
    expect((await operator('PUT', path, { default_type: { volume_type: name } }, '3.61')).status).toBe(404);
    expect((await operator('PUT', `/${admin.projectId}${path}`, { default_type: { volume_type: name } }, '3.62')).status).toBe(404);
    expect((await user('GET', path, undefined, '3.62')).status).toBe(403);
    expect((await operator('GET', path, undefined, '3.62')).status).toBe(404);
    expect((await operator('PUT', '/default-types/nobody', { default_type: { volume_type: name } }, '3.62')).status).toBe(400);
    expect((await operator('PUT', path, { default_type: { volume_type: 'nothing' } }, '3.62')).status).toBe(404);
    const set = { default_type: { project_id: ada.projectId, volume_type_id: id } };
    expect((await operator('PUT', path, { default_type: { volume_type: name } }, '3.62')).body).toEqual(set);
    expect((await operator('GET', '/default-types', undefined, '3.62')).body).toEqual({ default_types: [set.default_type] });
    expect((await user('GET', '/types/default')).body.volume_type.id).toBe(id);
    const volume = await makeVolume();
    expect((await user('GET', `/volumes/${volume}`)).body.volume.volume_type).toBe(name);
    await deleteVolume(volume);
    expect((await operator('DELETE', `/types/${id}`)).status).toBe(400);
    expect((await operator('DELETE', path, undefined, '3.62')).status).toBe(204);
    expect((await user('GET', '/types/default')).body.volume_type.name).toBe('__DEFAULT__');
  });

  it("is its source's, whoever may ask for that type", async () => {
    const { id, name } = await makeType({ 'os-volume-type-access:is_public': false });
    await operator('POST', `/types/${id}/action`, { addProjectAccess: { project: ada.projectId } });
    const source = await makeVolume({ volume_type: name });
    await wire.settled(ada, 'volumes', source);
    await operator('POST', `/types/${id}/action`, { removeProjectAccess: { project: ada.projectId } });
    const clone = await makeVolume({ source_volid: source });
    expect((await user('GET', `/volumes/${clone}`)).body.volume.volume_type).toBe(name);
    await deleteVolume(clone);
    await deleteVolume(source);
  });
});

describe('what a type asks of its volumes', () => {
  it('is a size and a zone', async () => {
    const { id } = await makeType({ extra_specs: { 'provisioning:min_vol_size': '2', 'provisioning:max_vol_size': '3' } });
    for (const size of [1, 4]) expect((await user('POST', '/volumes', { volume: { size, volume_type: id } })).status).toBe(400);
    const far = await makeType({ extra_specs: { 'RESKEY:availability_zones': 'moon, mars' } });
    expect(faultOf(await user('POST', '/volumes', { volume: { size: 1, volume_type: far.id } }))).toEqual([
      400,
      'Volume type is only supported in these availability zones: moon, mars',
    ]);
  });
});
