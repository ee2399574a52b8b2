/** Block Storage over its wire: real HTTP parsing, real tokens, real disks, in this process. */
import fastify from 'fastify';
import { createIdentityService } from '../../src/cloud/identity/service.ts';
import { blockStorageFront } from '../../src/fronts/openstack/block-storage/plugin.ts';
import { identityFront } from '../../src/fronts/openstack/identity/plugin.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type BackupCloud, startBackupCloud } from './backup-cloud.ts';
import { memberOf, type Person, signIn } from './people.ts';

export type { Person } from './people.ts';

export interface WireAnswer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what the wire carried; the assertions look into it
  readonly body: any;
}

export interface Wire {
  readonly cloud: BackupCloud;
  readonly admin: Person;
  /** A member of a project of their own, both of this name. */
  member(name: string): Promise<Person>;
  /** `path` behind `/volume/v3`. The microversion is 3.0 unless another is named. */
  send(who: Person, method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown, version?: string): Promise<WireAnswer>;
  /** Polls until the status is none of a job's. */
  settled(who: Person, collection: 'volumes' | 'backups', id: string): Promise<string>;
  stop(): Promise<void>;
}

const transient = ['creating', 'deleting', 'restoring', 'restoring-backup', 'backing-up'];

export async function startWire(): Promise<Wire> {
  const cloud = await startBackupCloud();
  const identity = createIdentityService({ database: cloud.held.database, clock: systemClock });
  await identity.bootstrapIdentity({ adminPassword: 'secret' });
  const app = fastify({ routerOptions: { ignoreTrailingSlash: true, maxParamLength: 2048 } });
  await app.register(identityFront, { prefix: '/identity', identity, publicUrl: undefined });
  await app.register(blockStorageFront, { prefix: '/volume', identity, ...cloud, publicUrl: undefined });
  const admin = await signIn(app, 'admin', 'secret', 'admin');

  const send: Wire['send'] = async (who, method, path, body, version) => {
    const headers = {
      'x-auth-token': who.token,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(version !== undefined && { 'openstack-api-version': `volume ${version}` }),
    };
    const payload = body === undefined ? {} : { payload: JSON.stringify(body) };
    const answer = await app.inject({ method, url: `/volume/v3${path}`, headers, ...payload });
    return { status: answer.statusCode, body: answer.body === '' ? undefined : answer.json() };
  };

  return {
    cloud,
    admin,
    send,
    member: (name) => memberOf(app, admin, name),
    async settled(who, collection, id) {
      for (;;) {
        const { status, body } = await send(who, 'GET', `/${collection}/${id}`);
        if (status === 404) return 'gone';
        const { status: state } = body[collection.slice(0, -1)];
        if (!transient.includes(state)) return state;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    async stop() {
      await app.close();
      await cloud.stop();
    },
  };
}
