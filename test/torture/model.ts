/** What should be there: the model beside the real thing. */

import type { NbdClient } from '../support/nbd-client.ts';
import type { Contents } from './contents.ts';
import { describeSector } from './contents.ts';

/** The real thing is not what it should be: what this program is there to find. */
export class Found extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'Found';
  }
}

export class VolumeModel {
  readonly name: string;
  readonly id: string;
  contents: Contents;
  /**
   * What the disk held after each write since the last flush, beginning with that flush. Where its server is killed, each sector may be as in any of
   * these; else it is as in the last.
   */
  versions: Contents[];
  /** Collects the versions while moments of the disk are being made; ended by whoever waits for them. */
  window: Contents[] | undefined;
  client: NbdClient | undefined;
  attached = false;
  /** Its server was killed: `contents` is known again once the disk was read. */
  inDoubt = false;

  constructor(name: string, id: string, contents: Contents) {
    this.name = name;
    this.id = id;
    this.contents = contents;
    this.versions = [contents];
  }

  get sizeBytes(): number {
    return this.contents.sizeBytes;
  }

  /** Before the write is sent: from then on it may be there. */
  issue(next: Contents): void {
    this.contents = next;
    this.versions.push(next);
    this.window?.push(next);
  }

  /** All that was written is durable. */
  flushed(): void {
    this.versions = [this.contents];
  }

  /** The disk is another one from now on, all of it durable. */
  become(contents: Contents): void {
    this.contents = contents;
    this.versions = [contents];
    this.inDoubt = false;
  }

  lose(): void {
    this.client = undefined;
    this.inDoubt = true;
  }

  /** Takes what the disk really holds, after it was in doubt: each sector must be one that was written there and not flushed over. */
  settle(observed: Contents): void {
    mustBeOneOf(this.name, observed, this.versions);
    this.become(observed);
  }

  /** A read of the whole disk must be exactly what was written, unless that is in doubt. */
  compare(observed: Contents): void {
    if (this.inDoubt) this.settle(observed);
    else mustEqual(this.name, observed, this.contents);
  }

  /**
   * A moment of the disk that was made since `window` began. With one client that waits for each answer it is what some number of its writes left,
   * whole; where the server was killed meanwhile, each sector is for itself.
   */
  matchMoment(name: string, observed: Contents): void {
    const window = this.window ?? [this.contents];
    if (this.inDoubt) {
      mustBeOneOf(name, observed, [...this.versions, ...window]);
      this.versions = [observed, ...this.versions];
      return;
    }
    const found = window.findIndex((version) => version.equals(observed));
    if (found < 0) {
      const nearest = window.at(-1) as Contents;
      throw new Found(`${name} is no moment of ${this.name} (of ${window.length} that it had): ${difference(observed, nearest)}`);
    }
    // What is in the frozen layer is durable.
    const kept = window.slice(found);
    if (kept.length < this.versions.length) this.versions = kept;
  }
}

export interface PointModel {
  readonly name: string;
  readonly pointId: string;
  readonly contents: Contents;
  readonly holder: string;
  /** Of which volume it is a snapshot; undefined: an image. */
  readonly volume: string | undefined;
}

export interface BackupModel {
  readonly name: string;
  readonly backupId: string;
  readonly session: string;
  readonly root: string;
  readonly contents: Contents;
  isVerified: boolean;
}

export function mustEqual(name: string, observed: Contents, wanted: Contents): void {
  if (observed.sizeBytes !== wanted.sizeBytes) throw new Found(`${name} has ${observed.sizeBytes} bytes instead of ${wanted.sizeBytes}`);
  if (!observed.equals(wanted)) throw new Found(`${name} is not what it should be: ${difference(observed, wanted)}`);
}

function mustBeOneOf(name: string, observed: Contents, versions: readonly Contents[]): void {
  const latest = versions.at(-1) as Contents;
  if (observed.sizeBytes !== latest.sizeBytes) throw new Found(`${name} has ${observed.sizeBytes} bytes instead of ${latest.sizeBytes}`);
  for (const sector of observed.differences(latest)) {
    const bytes = observed.sector(sector);
    if (versions.some((version) => version.sector(sector).equals(bytes))) continue;
    const wanted = [...new Set(versions.map((version) => describeSector(version.sector(sector))))].join(' or ');
    throw new Found(`${name}, after its server was killed: sector ${sector} holds ${describeSector(bytes)}, not ${wanted}`);
  }
}

function difference(observed: Contents, wanted: Contents): string {
  const all = [...observed.differences(wanted)].sort((a, b) => a - b);
  const [first = 0] = all;
  const real = describeSector(observed.sector(first));
  return `${all.length} sectors differ, the first is ${first} (byte ${first * 512}): it holds ${real}, not ${describeSector(wanted.sector(first))}`;
}
