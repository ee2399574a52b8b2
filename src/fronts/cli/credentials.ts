/**
 * Where a command finds the cloud that it speaks to, in the order that people know from the `openstack` client:
 *
 * 1. a cloud named with `--os-cloud` or `OS_CLOUD`, looked up in `OS_CLIENT_CONFIG_FILE`, `./clouds.yaml`, the user's and the system's
 *    configuration folder, and last in the state directory of the local service;
 * 2. `OS_AUTH_URL` and the other `OS_*` variables (an `openrc` file);
 * 3. the cloud `stillpoint` in the state directory of the local service.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { CliInvocation } from './command.ts';
import { CliError, exitCodes, failure, notFoundError, usageError } from './exit-codes.ts';

const localCloud = 'stillpoint';

export interface CloudCredentials {
  readonly authUrl: string;
  readonly region: string | undefined;
  /** The `identity` and `scope` members of a token request. */
  readonly auth: Readonly<Record<string, unknown>>;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Where = Pick<CliInvocation, 'environment' | 'stateDir' | 'cloud'>;

export async function findCredentials(where: Where): Promise<CloudCredentials> {
  const { environment, stateDir, cloud } = where;
  if (cloud !== undefined && cloud !== '') return await namedCloud(cloud, configFiles(environment, stateDir));
  if (environment.OS_AUTH_URL) return credentialsOf(fromEnvironment(environment), 'the OS_* variables');
  return await namedCloud(localCloud, [join(stateDir, 'clouds.yaml')]);
}

function configFiles(environment: Environment, stateDir: string): string[] {
  const userFolder = environment.XDG_CONFIG_HOME || join(environment.HOME || homedir(), '.config');
  const named = environment.OS_CLIENT_CONFIG_FILE ? [environment.OS_CLIENT_CONFIG_FILE] : [];
  return [...named, 'clouds.yaml', join(userFolder, 'openstack/clouds.yaml'), '/etc/openstack/clouds.yaml', join(stateDir, 'clouds.yaml')];
}

async function namedCloud(name: string, files: readonly string[]): Promise<CloudCredentials> {
  let unreadable: string | undefined;
  for (const file of files) {
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EACCES') unreadable ??= file;
      continue;
    }
    const cloud = cloudIn(text, name, file);
    if (cloud !== undefined) return credentialsOf(cloud, file);
  }
  if (unreadable !== undefined) throw new CliError(exitCodes.refused, `no permission to read ${unreadable}`);
  const looked = files.length === 1 ? `: ${files[0]} is not there; is the service set up? (npm start)` : `; looked in ${files.join(', ')}`;
  throw notFoundError(`no credentials for cloud '${name}'${looked}`);
}

type CloudEntry = Readonly<Record<string, unknown>>;

function cloudIn(text: string, name: string, file: string): CloudEntry | undefined {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw failure(`${file} is not valid YAML`, error);
  }
  return recordAt(recordAt(document, 'clouds'), name);
}

function recordAt(value: unknown, key: string): CloudEntry | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const member = (value as CloudEntry)[key];
  return typeof member === 'object' && member !== null ? (member as CloudEntry) : undefined;
}

/** The variables of an `openrc` file, in the shape of a cloud in `clouds.yaml`. */
function fromEnvironment(environment: Environment): CloudEntry {
  const auth: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (name.startsWith('OS_') && value) auth[name.slice('OS_'.length).toLowerCase()] = value;
  }
  return { auth, auth_type: auth.auth_type, region_name: auth.region_name };
}

function credentialsOf(cloud: CloudEntry, source: string): CloudCredentials {
  const auth = recordAt(cloud, 'auth') ?? {};
  const text = (key: string): string | undefined => {
    const value = auth[key];
    return value === undefined || value === null ? undefined : String(value);
  };
  const needed = (key: string): string => {
    const value = text(key);
    if (value === undefined) throw usageError(`${key} is missing in ${source}`);
    return value;
  };
  const authUrl = needed('auth_url').replace(/\/+$/, '');
  return {
    authUrl: /\/v3$/.test(authUrl) ? authUrl : `${authUrl}/v3`,
    region: cloud.region_name === undefined ? undefined : String(cloud.region_name),
    auth: authOf(text, needed, cloud.auth_type === undefined ? undefined : String(cloud.auth_type)),
  };
}

type Lookup = (key: string) => string | undefined;

function authOf(text: Lookup, needed: (key: string) => string, authType: string | undefined): Record<string, unknown> {
  if (authType === 'v3applicationcredential' || text('application_credential_id') || text('application_credential_name')) {
    const id = text('application_credential_id');
    const who = id === undefined ? { name: needed('application_credential_name'), user: userOf(text, needed) } : { id };
    const credential = { ...who, secret: needed('application_credential_secret') };
    return { identity: { methods: ['application_credential'], application_credential: credential } };
  }
  const scope = scopeOf(text);
  if (authType === 'token' || authType === 'v3token') {
    return { identity: { methods: ['token'], token: { id: needed('token') } }, ...scope };
  }
  const user = { ...userOf(text, needed), password: needed('password') };
  return { identity: { methods: ['password'], password: { user } }, ...scope };
}

function userOf(text: Lookup, needed: (key: string) => string): Record<string, unknown> {
  const id = text('user_id');
  return id === undefined ? { name: needed('username'), domain: domainOf(text, 'user') } : { id };
}

function scopeOf(text: Lookup): Record<string, unknown> {
  const id = text('project_id') ?? text('tenant_id');
  if (id !== undefined) return { scope: { project: { id } } };
  const name = text('project_name') ?? text('tenant_name');
  return name === undefined ? {} : { scope: { project: { name, domain: domainOf(text, 'project') } } };
}

function domainOf(text: Lookup, of: 'user' | 'project'): Record<string, string> {
  const name = text(`${of}_domain_name`) ?? text('domain_name') ?? text('default_domain_name');
  if (name !== undefined) return { name };
  return { id: text(`${of}_domain_id`) ?? text('domain_id') ?? text('default_domain') ?? 'default' };
}
