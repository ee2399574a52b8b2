import { describe, expect, it } from 'vitest';
import { ConfigError, type Environment, type Host, readConfig } from './config.ts';

const user: Host = { isRoot: false, userId: 1000, home: '/home/ada', workingDir: '/home/ada/stillpoint' };
const root: Host = { isRoot: true, userId: 0, home: '/root', workingDir: '/' };
const read = (environment: Environment, host = user) => readConfig(environment, host);

describe('the state directory', () => {
  it('is /var/lib/stillpoint for root', () => {
    expect(read({ XDG_STATE_HOME: '/elsewhere' }, root).stateDir).toBe('/var/lib/stillpoint');
  });

  it('follows the XDG rules for other users', () => {
    expect(read({}).stateDir).toBe('/home/ada/.local/state/stillpoint');
    expect(read({ XDG_STATE_HOME: '/data/state' }).stateDir).toBe('/data/state/stillpoint');
    expect(read({ XDG_STATE_HOME: 'relative' }).stateDir).toBe('/home/ada/.local/state/stillpoint');
  });

  it('is what the variable says, made absolute', () => {
    expect(read({ STILLPOINT_STATE_DIR: 'state' }).stateDir).toBe('/home/ada/stillpoint/state');
  });

  it('keeps the sockets out when its path is long', () => {
    const stateDir = `/srv/${'x'.repeat(90)}`;
    expect(read({ STILLPOINT_STATE_DIR: '/srv/short' }).runtimeDir).toBe('/srv/short/run');
    expect(read({ STILLPOINT_STATE_DIR: stateDir }).runtimeDir).toMatch(/^\/tmp\/stillpoint-1000\/[0-9a-f]{16}$/);
    expect(read({ STILLPOINT_STATE_DIR: stateDir }, root).runtimeDir).toMatch(/^\/run\/stillpoint\/[0-9a-f]{16}$/);
    expect(read({ STILLPOINT_STATE_DIR: `${stateDir}y` }, root).runtimeDir).not.toBe(
      read({ STILLPOINT_STATE_DIR: stateDir }, root).runtimeDir,
    );
  });
});

describe('the listening address', () => {
  it.each([
    ['127.0.0.1:8700', '127.0.0.1', 8700],
    ['0.0.0.0:0', '0.0.0.0', 0],
    ['[::1]:80', '::1', 80],
    ['cloud.local:65535', 'cloud.local', 65_535],
  ])('reads %s', (text, host, port) => {
    expect(read({ STILLPOINT_LISTEN: text }).listen).toEqual({ host, port });
  });

  it.each(['8700', ':8700', '127.0.0.1', '127.0.0.1:65536', '::1:80', '127.0.0.1:80x'])('refuses %s and says what it wants', (text) => {
    expect(() => read({ STILLPOINT_LISTEN: text })).toThrow(/STILLPOINT_LISTEN is .*127\.0\.0\.1:8700/);
  });

  it('is the default for an empty variable', () => {
    expect(read({ STILLPOINT_LISTEN: '' }).listen).toEqual({ host: '127.0.0.1', port: 8700 });
  });
});

describe('the downloads of images', () => {
  it('are off, and on with the usual ports', () => {
    expect(read({}).imageDownload).toBeUndefined();
    expect(read({ STILLPOINT_IMAGE_DOWNLOAD: 'yes' }).imageDownload).toEqual({ allowedNetworks: [], allowedPorts: [80, 443] });
  });

  it('may reach what the operator names, and nothing that is no network or port', () => {
    const on = { STILLPOINT_IMAGE_DOWNLOAD: 'yes' };
    const given = { ...on, STILLPOINT_IMAGE_DOWNLOAD_NETWORKS: '10.0.0.0/8, fd00::/8', STILLPOINT_IMAGE_DOWNLOAD_PORTS: '8080' };
    expect(read(given).imageDownload).toEqual({ allowedNetworks: ['10.0.0.0/8', 'fd00::/8'], allowedPorts: [8080] });
    expect(() => read({ ...on, STILLPOINT_IMAGE_DOWNLOAD_NETWORKS: 'intranet' })).toThrow(ConfigError);
    for (const ports of ['0', '65536', 'http']) expect(() => read({ ...on, STILLPOINT_IMAGE_DOWNLOAD_PORTS: ports })).toThrow(ConfigError);
  });
});

describe('other settings', () => {
  it('drops the slash at the end of the public address', () => {
    expect(read({ STILLPOINT_PUBLIC_URL: 'https://cloud.example.org/' }).publicUrl).toBe('https://cloud.example.org');
    expect(read({ STILLPOINT_PUBLIC_URL: 'https://example.org/cloud/' }).publicUrl).toBe('https://example.org/cloud');
  });

  it.each([
    { STILLPOINT_PUBLIC_URL: 'cloud.example.org' },
    { STILLPOINT_PUBLIC_URL: 'ftp://cloud.example.org' },
    { STILLPOINT_LOG_LEVEL: 'loud' },
    { STILLPOINT_DISK_RESERVE_BYTES: '1G' },
    { STILLPOINT_DISK_RESERVE_BYTES: '-1' },
    { STILLPOINT_BALLAST_BYTES: '64 MiB' },
    { STILLPOINT_TRASH_DAYS: '-1' },
    { STILLPOINT_TRASH_DAYS: 'a week' },
    { STILLPOINT_CRASH_POINT: 'volume.create' },
    { STILLPOINT_ALLOW_UNCONFINED: '1' },
    { DATABASE_URL: 'mysql://host/db' },
  ])('refuses %o', (environment) => {
    expect(() => read(environment)).toThrow(ConfigError);
  });

  it('does not repeat a database address, which may hold a password', () => {
    expect(() => read({ DATABASE_URL: 'mysql://ada:secret@host/db' })).toThrow(expect.not.stringContaining('secret'));
  });

  it('reads a crash point whose name holds colons', () => {
    const { crashPoint } = read({ STILLPOINT_CRASH_POINT: 'backup.create:copy:mover:after:kill:2' });
    expect(crashPoint).toEqual({ name: 'backup.create:copy:mover:after', action: 'kill', afterHits: 2 });
  });

  it('cannot be changed afterwards', () => {
    const config = read({}) as { logLevel: string };
    expect(() => {
      config.logLevel = 'debug';
    }).toThrow(TypeError);
  });
});
