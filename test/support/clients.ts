import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ServiceUnderTest } from './service.ts';

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const commandTimeoutMs = 180_000;

/** Runs a program to its end; a failing exit code is a result, not an exception. */
export function run(program: string, args: readonly string[], environment: Record<string, string> = {}): Promise<CommandResult> {
  return new Promise((done) => {
    const options = { env: { ...process.env, ...environment }, timeout: commandTimeoutMs, maxBuffer: 64 << 20 };
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
      done({ code, stdout, stderr });
    });
  });
}

/** Runs a program that has to succeed. */
export async function mustRun(program: string, args: readonly string[], environment: Record<string, string> = {}): Promise<string> {
  const result = await run(program, args, environment);
  if (result.code !== 0) throw new Error(`${program} ${args.join(' ')} exited with ${result.code}:\n${result.stderr}${result.stdout}`);
  return result.stdout;
}

const clientEnvironment = (service: ServiceUnderTest) => ({
  OS_CLIENT_CONFIG_FILE: join(service.stateDir, 'clouds.yaml'),
  OS_CLOUD: 'stillpoint',
});

/** Debian's unmodified client, with the credentials that the service wrote. */
export function openstack(service: ServiceUnderTest, ...args: string[]): Promise<CommandResult> {
  return run('/usr/bin/openstack', args, clientEnvironment(service));
}

/** The same, for a command that has to succeed and answers in JSON. */
// biome-ignore lint/suspicious/noExplicitAny: a foreign client's answer; the assertions look into it
export async function openstackJson(service: ServiceUnderTest, ...args: string[]): Promise<any> {
  const text = await mustRun('/usr/bin/openstack', [...args, '-f', 'json'], clientEnvironment(service));
  return JSON.parse(text.slice(text.search(/[[{]/)));
}

/** Debian's older block-storage client. */
export async function cinder(service: ServiceUnderTest, ...args: string[]): Promise<CommandResult> {
  return await run('/usr/bin/cinder', args, await openrcOf(service));
}

/** Debian's older image client. */
export async function glance(service: ServiceUnderTest, ...args: string[]): Promise<CommandResult> {
  return await run('/usr/bin/glance', args, await openrcOf(service));
}

/** Debian's older compute client. */
export async function nova(service: ServiceUnderTest, ...args: string[]): Promise<CommandResult> {
  return await run('/usr/bin/nova', args, await openrcOf(service));
}

/** The credentials of the `openrc` file. */
async function openrcOf(service: ServiceUnderTest): Promise<Record<string, string>> {
  const openrc = await readFile(join(service.stateDir, 'openrc'), 'utf8');
  const variables = [...openrc.matchAll(/^export (OS_\w+)=['"]?(.*?)['"]?$/gm)].map((match) => [match[1] ?? '', match[2] ?? '']);
  return Object.fromEntries(variables);
}

/** Our own command line, as an operator runs it. */
export function stillpoint(service: ServiceUnderTest, ...args: string[]): Promise<CommandResult> {
  return run(process.execPath, [resolve(import.meta.dirname, '../../src/main/cli.ts'), ...args], {
    ...clientEnvironment(service),
    STILLPOINT_STATE_DIR: service.stateDir,
  });
}
