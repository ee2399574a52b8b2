/**
 * What a config drive says to its guest, file by file, in the words of OpenStack Compute: cloud-init and its kin know them.
 *
 * Each dated folder promises the fields of its time, so that a guest that asks for an old one finds what it knows; `latest` is the newest.
 */
export interface ConfigDriveContent {
  readonly uuid: string;
  readonly name: string;
  readonly hostname: string;
  readonly projectId: string;
  readonly availabilityZone: string;
  readonly launchIndex: number;
  /** Pairs that the server's owner gave it. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Public keys by their names, for the first user to log in with. */
  readonly keys: Readonly<Record<string, string>>;
  /** As the user gave them, at most 64 KiB. */
  readonly userData?: Uint8Array | undefined;
  readonly adminPassword?: string | undefined;
  /** Bytes that nobody else knows, for the guest's random numbers at its first start. */
  readonly randomSeed?: Uint8Array | undefined;
}

export interface ConfigDriveFile {
  /** `openstack/latest/meta_data.json` */
  readonly path: string;
  /** The same object where the same bytes stand in several places. */
  readonly bytes: Uint8Array;
}

const userDataBytesMax = 64 * 1024;
const metaDataBytesMax = 512 * 1024;

/** Oldest first. Fields and files appear with a version and stay. */
const versions = [
  '2012-08-10',
  '2013-04-04',
  '2013-10-17',
  '2015-10-15',
  '2016-06-30',
  '2016-10-06',
  '2017-02-22',
  '2018-08-27',
  '2020-10-14',
  'latest',
] as const;
type Version = (typeof versions)[number];
const ec2Versions = ['2009-04-04', 'latest'];

/** Throws `RangeError` when something is larger than a config drive may hold. */
export function configDriveFiles(content: ConfigDriveContent): ConfigDriveFile[] {
  const { userData } = content;
  if (userData !== undefined && userData.length > userDataBytesMax) throw new RangeError(`user data end at ${userDataBytesMax} bytes`);
  const shared = {
    'vendor_data.json': ['2013-10-17', json({})],
    'network_data.json': ['2015-10-15', json({ links: [], networks: [], services: [] })],
    'vendor_data2.json': ['2016-10-06', json({ static: {} })],
  } as const;
  const openStack = versions.flatMap((version) => {
    const folder = `openstack/${version}`;
    const files: ConfigDriveFile[] = [{ path: `${folder}/meta_data.json`, bytes: bounded(json(metaDataOf(content, version))) }];
    if (userData !== undefined) files.push({ path: `${folder}/user_data`, bytes: userData });
    for (const [name, [since, bytes]] of Object.entries(shared)) if (has(version, since)) files.push({ path: `${folder}/${name}`, bytes });
    return files;
  });
  const ec2 = ec2Versions.flatMap((version) => {
    const files: ConfigDriveFile[] = [{ path: `ec2/${version}/meta-data.json`, bytes: bounded(json(ec2MetaDataOf(content))) }];
    if (userData !== undefined) files.push({ path: `ec2/${version}/user-data`, bytes: userData });
    return files;
  });
  return [...ec2, ...openStack];
}

const has = (version: Version, since: Version): boolean => versions.indexOf(version) >= versions.indexOf(since);
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

function bounded(bytes: Buffer): Buffer {
  if (bytes.length > metaDataBytesMax) throw new RangeError(`the metadata of a server end at ${metaDataBytesMax} bytes`);
  return bytes;
}

function metaDataOf(content: ConfigDriveContent, version: Version): object {
  const { keys, metadata, randomSeed, adminPassword } = content;
  const hasKeys = Object.keys(keys).length > 0;
  return {
    uuid: content.uuid,
    ...(Object.keys(metadata).length > 0 && { meta: metadata }),
    ...(adminPassword !== undefined && { admin_pass: adminPassword }),
    ...(hasKeys && { public_keys: keys, keys: Object.entries(keys).map(([name, data]) => ({ name, type: 'ssh', data })) }),
    hostname: content.hostname,
    name: content.name,
    launch_index: content.launchIndex,
    availability_zone: content.availabilityZone,
    ...(randomSeed !== undefined && has(version, '2013-04-04') && { random_seed: Buffer.from(randomSeed).toString('base64') }),
    ...(has(version, '2015-10-15') && { project_id: content.projectId }),
    ...(has(version, '2016-06-30') && { devices: [] }),
    ...(has(version, '2020-10-14') && { dedicated_cpus: [] }),
  };
}

function ec2MetaDataOf(content: ConfigDriveContent): object {
  const { hostname } = content;
  const keys = Object.values(content.keys).map((key, index) => [String(index), { 'openssh-key': key }]);
  return {
    'ami-launch-index': content.launchIndex,
    'instance-id': `i-${content.uuid.slice(0, 8)}`,
    'instance-action': 'none',
    hostname,
    'local-hostname': hostname,
    'public-hostname': hostname,
    placement: { 'availability-zone': content.availabilityZone },
    ...(keys.length > 0 && { 'public-keys': Object.fromEntries(keys) }),
  };
}
