/** One history's service: the real program on a state directory of its own, and the model of what it should hold. */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Answer, type Api, signIn } from '../support/api.ts';
import { connectNbd, type NbdClient, socketPathOf } from '../support/nbd-client.ts';
import { processes } from '../support/processes.ts';
import { connect, disconnect } from '../support/scenario.ts';
import { makeStateDir, type ServiceUnderTest, startServiceUnderTest } from '../support/service.ts';
import { fillFrom } from './client.ts';
import { type Contents, ContentsBuilder } from './contents.ts';
import type { Counts } from './counts.ts';
import { Found, type VolumeModel } from './model.ts';
import { readStored, withStored } from './stored.ts';

const settleWithinMs = 90_000;
const pollMs = 20;
const transient =
  /^(?:creating|downloading|deleting|backing-up|restoring|restoring-backup|extending|uploading|reverting|saving|importing|attaching|detaching)$/;

export type Collection = 'volumes' | 'snapshots' | 'backups' | 'images';

export interface SnapshotModel {
  readonly name: string;
  readonly id: string;
  readonly contents: Contents;
  /** The id of its volume; undefined: an image. */
  readonly volumeId: string | undefined;
}

export interface ServiceBackupModel {
  readonly name: string;
  readonly id: string;
  readonly volumeId: string;
  readonly contents: Contents;
  isVerified: boolean;
}

export class ServiceWorld {
  readonly stateDir: string;
  readonly counts: Counts;
  readonly volumes = new Map<string, VolumeModel>();
  /** Snapshots and images: what volumes start from. */
  readonly points = new Map<string, SnapshotModel>();
  readonly backups = new Map<string, ServiceBackupModel>();
  /** Where the clients of volumes are connected, by the volume's id. */
  readonly sockets = new Map<string, string>();
  service: ServiceUnderTest;
  api: Api;
  isDead = false;

  private constructor(stateDir: string, counts: Counts, service: ServiceUnderTest, api: Api) {
    this.stateDir = stateDir;
    this.counts = counts;
    this.service = service;
    this.api = api;
    this.#watch();
  }

  static async make(counts: Counts): Promise<ServiceWorld> {
    const stateDir = await makeStateDir();
    const service = await startServiceUnderTest(stateDir);
    const api = await signIn(service);
    const quota = { volumes: -1, snapshots: -1, gigabytes: -1, backups: -1, backup_gigabytes: -1 };
    await api.volume('PUT', `/os-quota-sets/${api.projectId}`, { quota_set: quota });
    return new ServiceWorld(stateDir, counts, service, api);
  }

  async start(environment: Record<string, string> = {}): Promise<void> {
    this.service = await startServiceUnderTest(this.stateDir, environment);
    this.isDead = false;
    this.#watch();
    this.api = await signIn(this.service);
  }

  #watch(): void {
    const watched = this.service;
    void watched.ended.then(() => {
      if (this.service === watched) this.isDead = true;
    });
  }

  async find(collection: Collection, id: string): Promise<Answer | undefined> {
    const path = collection === 'images' ? `/image/v2/images/${id}` : `/volume/v3/${collection}/${id}`;
    const { status, body } = await this.api.raw('GET', path);
    if (status === 404) return undefined;
    if (status >= 400) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`);
    return collection === 'images' ? body : body[collection.slice(0, -1)];
  }

  async named(collection: Collection, name: string): Promise<Answer | undefined> {
    const answer =
      collection === 'images'
        ? await this.api.image('GET', `/images?name=${name}`)
        : await this.api.volume('GET', `/${collection}/detail?name=${name}`);
    return answer[collection].find((one: Answer) => one.name === name);
  }

  /** Waits for a status that stays; undefined when the thing is gone. */
  async settled(collection: Collection, id: string): Promise<Answer | undefined> {
    const until = performance.now() + settleWithinMs;
    for (;;) {
      const found = await this.find(collection, id);
      if (found === undefined || !transient.test(found.status)) return found;
      if (performance.now() > until) throw new Found(`${collection} ${found.name} is still ${found.status}`);
      await pause(pollMs);
    }
  }

  async mustBe(collection: Collection, id: string, statuses: readonly string[]): Promise<Answer> {
    const found = await this.settled(collection, id);
    if (found !== undefined && statuses.includes(found.status)) return found;
    throw new Found(
      `${collection} ${found?.name ?? id} is ${found?.status ?? 'gone'} (${found?.fail_reason ?? ''}), not ${statuses.join(' or ')}`,
    );
  }

  async vanish(collection: Collection, id: string): Promise<void> {
    if (collection === 'images') await this.api.image('DELETE', `/images/${id}`);
    else await this.api.volume('DELETE', `/${collection}/${id}`);
    await this.mustVanish(collection, id);
  }

  async mustVanish(collection: Collection, id: string): Promise<void> {
    const left = await this.settled(collection, id);
    if (left !== undefined) throw new Found(`${collection} ${left.name} is ${left.status}, not gone`);
  }

  async open(id: string): Promise<NbdClient> {
    return await connectNbd(socketPathOf(await connect(this.api, id)));
  }

  /** Through the client that is connected, or one that comes for it. */
  async readVolume(id: string, client: NbdClient | undefined): Promise<Contents> {
    if (client !== undefined) return await this.readThrough(client);
    const own = await this.open(id);
    try {
      return await this.readThrough(own);
    } finally {
      await own.close();
      await disconnect(this.api, id);
    }
  }

  async readThrough(client: NbdClient): Promise<Contents> {
    const builder = new ContentsBuilder(client.sizeBytes);
    await fillFrom(builder, client);
    this.counts.bytesCompared += client.sizeBytes;
    return builder.build();
  }

  /** Through a volume that starts from it. */
  async readPoint({ id, name, volumeId, contents }: Pick<SnapshotModel, 'id' | 'name' | 'volumeId' | 'contents'>): Promise<Contents> {
    const source = volumeId === undefined ? { imageRef: id, size: 1 } : { snapshot_id: id, size: contents.sizeBytes / 2 ** 30 };
    const { volume } = await this.api.volume('POST', '/volumes', { volume: { name: `look-at-${name}`, ...source } });
    await this.mustBe('volumes', volume.id, ['available']);
    const observed = await this.readVolume(volume.id, undefined);
    await this.vanish('volumes', volume.id);
    return observed;
  }

  /** From the repository itself, without the service. */
  async readBackup(id: string): Promise<Contents> {
    const address = {
      store: { kind: 'filesystem', path: join(this.stateDir, 'repositories/default') },
      keyFile: join(this.stateDir, 'keys/default.key'),
    } as const;
    return await withStored(address, async (stored, repository) => {
      const found = stored.find(({ description }) => description.backupId === id);
      if (found === undefined) throw new Found(`backup ${id} is not in the repository`);
      const contents = await readStored(repository, found, join(this.stateDir, `restored-${id}`));
      this.counts.bytesCompared += contents.sizeBytes;
      return contents;
    });
  }

  /** Waits until nothing is on its way by itself any more. */
  async quiet(): Promise<void> {
    for (const collection of ['volumes', 'snapshots', 'backups'] as const) {
      const answer = await this.api.volume('GET', `/${collection}/detail`);
      for (const { id } of answer[collection]) await this.settled(collection, id);
    }
    for (const { id, status } of (await this.api.image('GET', '/images')).images)
      if (transient.test(status)) await this.settled('images', id);
  }

  /** Asks for all that goes on about the subjects to be given up. */
  async cancelJobs(subjectIds: readonly string[]): Promise<void> {
    for (const subject of subjectIds) {
      const { body } = await this.api.raw('GET', `/api/v1/jobs?subject_id=${subject}`);
      for (const job of body.jobs ?? []) {
        if (['pending', 'running'].includes(job.status)) await this.api.raw('POST', `/api/v1/jobs/${job.id}/cancel`);
      }
    }
  }

  /** The storage daemons of this service, by the command line in which their folders are. */
  async daemons(): Promise<{ id: number; commandLine: string }[]> {
    return (await processes()).filter(
      ({ commandLine }) => /^[^\0]*qemu-storage-daemon\0/.test(commandLine) && commandLine.includes(this.stateDir),
    );
  }
}
